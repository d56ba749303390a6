"""The model of a network that timm has, in timm's form: which architecture it is, its config and its tensors."""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from kcnn.architectures.registry import is_builtin
from kcnn.architectures.spec import ModelSpec, summary
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Conv
from kcnn.graph.tracing import topological_order
from kcnn.weights.hub import PUBLISHER, RESCALE, find_rescale, list_published_models

RGB = 3  # channels, timm's default
SCALE = "gamma"  # of a layer scale
TRAINING_OPTIONS = ("dropout", "drop_path")  # which change no prediction


def find_timm_name(graph: Graph) -> str | None:
    """Return timm's name of a network; None where timm does not have this very network.

    Args:
        graph: A graph from kcnn.trace. Dropout and the scaling of pixels may be others than timm's.
    """
    spec, architecture = graph.spec, graph.architecture
    if spec is None or architecture is None or not isinstance(spec.network, str) or spec.definition:
        return None
    rest = replace(spec, classes=None, input_shape=None, overrides={}, options={}, weights=None, source=None)
    if rest != ModelSpec(network=spec.network) or not set(spec.overrides) <= set(RESCALE):
        return None  # it ends otherwise, or a layer differs
    if not _has_mean_and_deviation(graph):
        return None
    title = spec.title.rpartition(":")[2]
    options = _drop_training_options({**architecture.defaults(), **spec.options})
    for model, (network, own) in list_published_models(PUBLISHER).items():
        is_same = network == title and is_builtin(title)
        if is_same and options == _drop_training_options({**architecture.defaults(), **own}):
            return model
    return None


def make_timm_config(graph: Graph, model: str, metadata: Mapping[str, Any], license: str) -> dict[str, Any]:
    """Return the content of config.json in timm's form.

    Args:
        graph: A network that timm has.
        model: Its name in timm.
        metadata: Metadata of the trained model.
        license: Of the weights.

    Returns:
        JSON values.
    """
    names, classes = _name_layers(graph), metadata["classes"]
    first = next(x.name for x in topological_order(*graph.outputs.values()) if isinstance(x.op, Conv))
    image = find_rescale(graph)
    assert image is not None
    rows, columns, channels = image.shape
    scales, offsets = (_spread(value, channels) for value in (image.op.scale, image.op.offset))
    # Without preprocessing, images were trained on as their largest central box, resized bilinearly.
    preprocessing = metadata.get("preprocessing") or {"resize": 1, "crop": 1, "interpolation": "bilinear"}
    count = classes if isinstance(classes, int) else len(classes)
    about: dict[str, Any] = {
        "custom_load": False,
        "input_size": [channels, rows, columns],
        "fixed_input_size": False,
        "interpolation": preprocessing["interpolation"],
        "crop_pct": preprocessing["crop"] / preprocessing["resize"],
        "crop_mode": preprocessing.get("crop_mode", "center"),
        "mean": [-offset / (255 * scale) for scale, offset in zip(scales, offsets, strict=True)],
        "std": [1 / (255 * scale) for scale in scales],
        "num_classes": count,
        "pool_size": None,
        "first_conv": names[first],
        "classifier": names[metadata["classifier"]],
        "license": license,
    }
    labels = {} if isinstance(classes, int) else {"label_names": classes}
    options = {} if channels == RGB else {"model_args": {"in_chans": channels}}
    return {"architecture": model, "num_classes": count, **options, **labels, "pretrained_cfg": about}


def make_timm_tensors(model: Any, graph: Graph) -> dict[str, Any]:
    """Return the weights of a Keras model as arrays by timm's names, with PyTorch's axes.

    Args:
        model: The model of the graph.
        graph: A network that timm has.
    """
    from kcnn.weights.axes import to_torch_axes
    from kcnn.weights.formats import CONVOLUTION, NORMALIZATION, TORCH

    variables = {**dict(zip(NORMALIZATION, TORCH, strict=True)), **dict(zip(CONVOLUTION, TORCH, strict=False))}
    assert graph.architecture is not None
    names, patterns = _name_layers(graph), graph.architecture.weight_mappings[PUBLISHER].reshaped
    tensors = {}
    for layer in model.layers:
        is_reshaped = any(fnmatchcase(layer.name, pattern) for pattern in patterns)
        is_scale = len(layer.weights) == 1 and layer.weights[0].name == SCALE  # timm's has the name of Keras'
        for variable in layer.weights:
            name = SCALE if is_scale else variables[variable.name]
            tensors[f"{names[layer.name]}.{name}"] = to_torch_axes(layer, variable, is_reshaped=is_reshaped)
    return tensors


def _name_layers(graph: Graph) -> dict[str, str]:
    """Return timm's name of each layer with weights."""
    assert graph.architecture is not None
    named = graph.architecture.weight_mappings[PUBLISHER].names(_list_weighted(graph))
    return {layer: name if isinstance(name, str) else name[0] for layer, name in named.items()}


def _list_weighted(graph: Graph) -> list[str]:
    return [row.name for row in summary(graph) if row.params or row.non_trainable_params]


def _has_mean_and_deviation(graph: Graph) -> bool:
    """Whether images have a size, and the scaling of their pixels is a mean and a standard deviation."""
    image = find_rescale(graph)
    return image is not None and None not in graph.input_shape and min(_spread(image.op.scale, image.shape[-1])) > 0


def _spread(value: float | tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value for each channel."""
    return value if isinstance(value, tuple) else (value,) * channels


def _drop_training_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in TRAINING_OPTIONS}
