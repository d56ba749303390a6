"""Keras' private graph: the one file that reads it, so that a change inside Keras is met in one place."""

import re
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state  # Keras has no public way to reset only its counts of names

from kcnn.graph.tracing import topological_order

DISTRIBUTIONS = ("softmax", "sparsemax")  # activations whose outputs add up to 1
PROBABILITY_ACTIVATIONS = (*DISTRIBUTIONS, "sigmoid", "hard_sigmoid")
SIGNED_ACTIVATIONS = ("tanh", "hard_tanh", "softsign")  # of one output: from -1 for one class to 1 for the other
TRAINING_ONLY = (  # layers that are the identity in inference
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    keras.layers.RandomFlip,
    keras.layers.RandomRotation,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
    keras.layers.RandomShear,
    keras.layers.RandomPerspective,
    keras.layers.RandomElasticTransform,
    keras.layers.RandomErasing,
    keras.layers.RandomGaussianBlur,
    keras.layers.RandomBrightness,
    keras.layers.RandomContrast,
    keras.layers.RandomSaturation,
    keras.layers.RandomHue,
    keras.layers.RandomSharpness,
    keras.layers.RandomColorJitter,
    keras.layers.RandomColorDegeneration,
    keras.layers.RandomGrayscale,
    keras.layers.RandomPosterization,
    keras.layers.RandomInvert,
    keras.layers.RandAugment,
    keras.layers.AugMix,
    keras.layers.MixUp,
    keras.layers.CutMix,
)
_RESHAPING = ("Flatten", "Reshape", "Squeeze", "ExpandDims", "Cast")  # layers and Keras ops that keep the values
LINEAR = (  # layers that give scores unless an activation is theirs
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)
OPEN_SIDE, TOLERANCE = 128, 1e-3  # pixels of a side whose size is open; of sums of probabilities in half precision
NAME_COUNTS = "object_name_uids"  # Keras' global attribute: how often each kind of layer was named


def operation(tensor: Any) -> Any:
    """Return the layer, or the Keras op, that computes a Keras tensor."""
    return tensor._keras_history.operation


def producers(tensor: Any) -> list[Any]:
    """Return the Keras tensors that a Keras tensor is computed from."""
    return _node(tensor).input_tensors


def outputs_of_call(tensor: Any) -> list[Any]:
    """Return all Keras tensors that the call which computes a Keras tensor returns."""
    return list(_node(tensor).output_tensors)


def call_arguments(tensor: Any) -> list[Any]:
    """Return every argument of the call that computes a Keras tensor: tensors and constants, in one flat list."""
    arguments = _node(tensor).arguments
    return keras.tree.flatten((arguments.args, arguments.kwargs))


def count_calls(layer: Any) -> int:
    """Return how often a layer was called on Keras tensors."""
    return len(layer._inbound_nodes)


def is_plain(layer: Any, kinds: type | tuple[type, ...]) -> bool:
    """Return whether a layer computes what one of these classes does.

    Args:
        layer: A Keras layer or op.
        kinds: Classes of Keras or kcnn.

    Returns:
        False for a class that somebody else derived from them: it may compute something else.
    """
    return isinstance(layer, kinds) and type(layer).__module__.partition(".")[0] in ("keras", "kcnn")


def find_origin(tensor: Any) -> Any:
    """Return the Keras tensor that first has the values of another.

    Nested models are entered, and layers that only reshape, cast or change nothing in inference are passed over.
    """
    while True:
        layer = operation(tensor)
        if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
            tensor = layer.outputs[tensor._keras_history.tensor_index]
        elif is_plain(layer, TRAINING_ONLY) or type(layer).__name__ in _RESHAPING or _is_linear_activation(layer):
            tensor = producers(tensor)[0]
        else:
            return tensor


def output_activation(tensor: Any) -> str | None:
    """Return the activation that makes a tensor's values probabilities, one of PROBABILITY_ACTIVATIONS.

    Args:
        tensor: An output of a Keras model; its activation may be in a nested model, or behind layers that only reshape.

    Returns:
        Its name; None for scores. A mean of probabilities has the activation that all of them have.
    """
    origin = find_origin(tensor)
    layer = operation(origin)
    if is_plain(layer, keras.layers.Average):
        names = {output_activation(source) for source in producers(origin)}
        return names.pop() if len(names) == 1 else None
    name = _name_activation(layer)
    return name if name in PROBABILITY_ACTIVATIONS else None


def _name_activation(layer: Any) -> str:
    function = getattr(layer, "activation", layer) if isinstance(layer, keras.layers.Layer) else layer
    # a function, TensorFlow's softmax_v2 too; or the layer Softmax, or Keras' ops Softmax, Sigmoid, HardSigmoid, ...
    name = getattr(function, "__name__", type(function).__name__).removesuffix("_v2")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def find_probability_activation(model: Any) -> str | None:
    """Return the activation that makes the first output of a model probabilities.

    Where no activation shows it, as of a mean over a map or of a function of its own, it follows from the values: they
    add up to 1, or stay within 0 and 1 for images of any brightness.

    Args:
        model: A Keras model.

    Returns:
        One of PROBABILITY_ACTIVATIONS, or for one output of SIGNED_ACTIVATIONS; None for scores.

    Raises:
        ValueError: It is a softmax over one output, which is 1 for every image.
    """
    name = output_activation(model.outputs[0])
    last = operation(find_origin(model.outputs[0]))
    if model.outputs[0].shape[-1] == 1:
        if name in DISTRIBUTIONS:
            raise ValueError(
                f"{model.name!r} ends in a {name} over one output, which is 1 for every image; end it in a sigmoid, or "
                "in one output for each class"
            )
        if _name_activation(last) in SIGNED_ACTIVATIONS:
            return _name_activation(last)
    is_linear = is_plain(last, LINEAR) and last.activation in (None, keras.activations.linear)
    if name or is_linear or len(model.inputs) > 1:
        return name
    shape = [size or OPEN_SIDE for size in model.inputs[0].shape[1:]]
    noise = np.random.default_rng(0).uniform(0, 255, (4, *shape))
    images = np.concatenate([noise, *(noise[:2] * scale for scale in (-1, 1e4, -1e4))]).astype("float32")
    outputs = keras.tree.flatten(model(images, training=False))
    scores = keras.ops.convert_to_numpy(outputs[0]).astype("float64").reshape(len(images), -1)
    usual = scores[: len(noise)]
    if scores.shape[1] > 1 and usual.min() >= 0 and np.allclose(usual.sum(axis=1), 1, atol=TOLERANCE):
        return "softmax"
    return "sigmoid" if scores.min() >= 0 and 0 < scores.max() <= 1 + TOLERANCE else None


def means_several_labels(activation: str | None, classes: int) -> bool:
    """Return whether the outputs of a model are probabilities of classes that do not exclude each other.

    Args:
        activation: From find_probability_activation.
        classes: Number of outputs.
    """
    return activation is not None and activation not in DISTRIBUTIONS and classes > 1


def _is_linear_activation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear


def flatten_layers(model: Any) -> list[Any]:
    """Return the layers of a model, those of nested models too."""
    return list(model._flatten_layers())


def finalize_normalization(model: Any) -> None:
    """Let the Normalization layers of a model, or in a layer, compute with the weights that were set.

    Keras' layer computes with copies of its mean and variance, which setting its weights leaves as they are.
    """
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def unique_name(name: str, taken: Container[str]) -> str:
    """Return a name, or with a number behind it ("conv_2") where it is taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def call_operation(tensor: Any, args: Any, kwargs: Any) -> Any:
    """Call the layer, or the Keras op, that computes a Keras tensor on other arguments."""
    return operation(tensor)(*args, **kwargs)


def replay(
    outputs: Sequence[Any],
    values: Sequence[tuple[Any, Any]],
    call: Callable[[Any, Any, Any], Any] = call_operation,
) -> list[Any]:
    """Compute Keras tensors again, from new values of other tensors of their graph.

    A keras.Model from a tensor in the middle would do so too, but leaves new nodes on the layers, and `layer.output`
    is an error from then on.

    Args:
        outputs: The Keras tensors to compute.
        values: Pairs of a Keras tensor and its value, which may be another Keras tensor.
        call: Computes a tensor from (tensor, args, kwargs); by default its layer is called.

    Returns:
        The values of `outputs`.
    """
    computed: dict[int, Any] = {id(tensor): value for tensor, value in values}
    known = set(computed)
    for tensor in topological_order(*outputs, sources=lambda one: () if id(one) in known else producers(one)):
        if id(tensor) in computed:  # another output of one layer
            continue
        node = _node(tensor)
        results = call(tensor, *node.arguments.fill_in(computed))
        computed.update(zip(map(id, node.output_tensors), keras.tree.flatten(results), strict=True))
    return [computed[id(tensor)] for tensor in outputs]


@contextmanager
def restart_layer_names() -> Iterator[None]:
    """Count layers without a name from the first ("conv2d", "conv2d_1"), whatever was built before."""
    before = global_state.get_global_attribute(NAME_COUNTS)
    global_state.set_global_attribute(NAME_COUNTS, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(NAME_COUNTS, before)


def _node(tensor: Any) -> Any:
    """The call that computes a tensor: its arguments and all its outputs."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]
