"""KerasHub's presets: which network, classes and scaling of pixels their config files describe.

These files are data here: no class that they name is imported or made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcnn.graph.names import UnknownNameError
from kcnn.graph.ops import Rescale
from kcnn.weights.preset_backbones import BACKBONES

PUBLISHER, PREFIX = "keras_hub", "keras_hub>"  # of the classes that configs name
TASK, PREPROCESSOR, CONVERTER = "task.json", "preprocessor.json", "image_converter.json"
HARMLESS = (  # fields of a backbone that change no prediction, or are the size of its images; KerasHub ignores the last
    *("name", "trainable", "dtype", "dropout", "batch_norm_momentum", "image_shape", "input_shape", "data_format"),
    "output_num_filters",
)
POOLINGS = ("avg", "flatten")  # the latter of VGG


@dataclass(frozen=True)
class Preset:
    """What a preset says of its model.

    Attributes:
        architecture: KerasHub's name of the backbone, such as "resnet_50".
        classes: Number of classes; None where it has no classifier.
        size: (rows, columns) of its images; None where it resizes none.
        rescale: How it scales pixels 0..255.
        interpolation: Of the resizing.
        crop_mode: "center", or "squash" where both sides are resized, whatever the proportions of the image.
    """

    architecture: str
    classes: int | None
    size: tuple[int, int] | None
    rescale: Rescale
    interpolation: str
    crop_mode: str


def is_preset(config: Any) -> bool:
    """Return whether the content of a config.json is that of a KerasHub preset."""
    return isinstance(config, Mapping) and str(config.get("registered_name")).startswith(PREFIX)


def parse_preset(
    backbone: Mapping[str, Any], task: Mapping[str, Any] | None, image: Mapping[str, Any] | None
) -> Preset:
    """Return what the files of a preset say.

    Args:
        backbone: Content of config.json.
        task: Content of task.json; None where there is no classifier.
        image: Content of preprocessor.json or image_converter.json; None where pixels stay as they are.

    Raises:
        UnknownNameError: kcnn has no such backbone.
        ValueError, KeyError, TypeError: A value is missing or of another kind.
    """
    head = task["config"] if task else {}
    if head.get("pooling", "avg") not in POOLINGS:
        raise ValueError(f"its classifier has pooling={head['pooling']!r}, where kcnn's network averages")
    converter = (image or {}).get("config", {})
    converter = converter.get("image_converter", {"config": converter}) or {}  # the preprocessor holds it
    values = converter.get("config", {})
    size = values.get("image_size") or [values[name] for name in ("height", "width") if values.get(name)]
    rows, columns = (int(side) for side in size) if size else (0, 0)
    if size and min(rows, columns) < 1:
        raise ValueError(f"image_size is {size}")
    return Preset(
        architecture=_name_backbone(backbone),
        classes=int(head["num_classes"]) if task else None,
        size=(rows, columns) if size else None,
        rescale=_read_rescale(values),
        interpolation=str(values.get("interpolation", "bilinear")).removesuffix("3"),
        crop_mode="squash" if _is_squashed(values) else "center",
    )


def _name_backbone(config: Mapping[str, Any]) -> str:
    """KerasHub's name of a backbone: that of its table whose fields are the same."""
    kind = config["registered_name"].removeprefix(PREFIX)
    fields = {name: value for name, value in config["config"].items() if name not in HARMLESS}
    alike = {name: expected for name, (other, expected) in BACKBONES.items() if other == kind}
    differing = {
        name: [field for field in {**fields, **expected} if fields.get(field) != expected.get(field)]
        for name, expected in alike.items()
    }
    best = min(differing, key=lambda name: len(differing[name]), default=None)
    if best is not None and not differing[best]:
        return best
    reason = "which kcnn does not have"
    if best is not None:
        field = differing[best][0]
        reason = f"whose {field} is {fields.get(field)} (that of {best} is {alike[best].get(field)})"
    raise UnknownNameError(f"KerasHub's {kind}, {reason}; presets of these load: {', '.join(BACKBONES)}")


def _is_squashed(values: Mapping[str, Any]) -> bool:
    """Whether an image converter resizes both sides, whatever the proportions; by default it crops."""
    return not values.get("crop_to_aspect_ratio", True) and not values.get("pad_to_aspect_ratio", False)


def _read_rescale(values: Mapping[str, Any]) -> Rescale:
    """The scaling of an image converter; older ones have a mean and a variance."""
    scale, offset = values.get("scale"), values.get("offset")
    if values.get("variance") is not None:
        deviations = [math.sqrt(one) for one in values["variance"]]
        means = values["mean"]
        offset = [-mean / one for mean, one in zip(means, deviations, strict=True)]
        scale = [(1.0 if scale is None else scale) / one for one in deviations]
    return Rescale(_to_value(scale, 1.0), _to_value(offset, 0.0))


def _to_value(value: float | Sequence[float] | None, default: float) -> float | tuple[float, ...]:
    if value is None:
        return default
    return tuple(map(float, value)) if isinstance(value, Sequence) else float(value)
