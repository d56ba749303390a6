"""What a plugin publishes: an Architecture, with pretrained weights and their names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

from kcnn import blocks
from kcnn.graph.argument_kinds import check_argument, check_arguments
from kcnn.graph.arguments import check_integer, check_keywords
from kcnn.graph.names import unknown
from kcnn.graph.ops import Rescale

CROP_MODES = ("center", "squash")  # of images for which weights are evaluated


@check_arguments
@dataclass(frozen=True, kw_only=True)
class WeightMapping:
    """Map the layers of a network to their names in the weight files of another library.

    Args:
        names: Function that takes the layers with weights, in topological order, and returns the name, or the possible
            names, of each in the file.
        bgr: Whether the first kernel expects blue, green, red.
        numbered: Whether the names are Keras' automatic ones. They count from 0 here ("conv2d_0", "conv2d_1"), from
            whatever number the file starts.
        normalization: Whether the file has Keras' layer that normalizes pixels 0..1. Its mean and variance must be
            those of the network's `rescale`.
        models: Names that the publisher gives to this very network, each with the options that it takes here, such as
            {"mobilenetv2_140": {"width": 1.4}}. Checkpoints on the Hugging Face Hub are found by them.
        reshaped: Patterns of layers whose kernels have another number of axes in the files: dense layers that are 1x1
            convolutions there, and 1x1 convolutions that are dense.
    """

    names: Callable[[Sequence[str]], Mapping[str, str | tuple[str, ...]]]
    bgr: bool = False
    numbered: bool = False
    normalization: bool = False
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reshaped: tuple[str, ...] = ()


@check_arguments
@dataclass(frozen=True, kw_only=True)
class Weights:
    """Describe a file of pretrained weights for one variant, its options and its input scaling.

    Args:
        name: What `weights=` takes.
        url: Where the file is published.
        checksum: "md5:..." or "sha256:..." in hex, of the latter at least 8 digits; None if none is published.
        source: The publisher.
        mapping: A key of the architecture's weight_mappings.
        options: Options of the network that the weights belong to.
        top: Whether the file has the classifier.
        classes: Class names, or the name of a list in kcnn.architectures.class_names.
        resize: Pixels of the shorter side of an image after resizing, as when `accuracy` was measured.
        crop: Pixels a side of the center crop.
        interpolation: Of the resizing.
        crop_mode: "center", or "squash" where both sides are resized to `resize`, whatever those of the image.
        accuracy: Top-1 on the ImageNet validation set, in percent; None if none is cited.
        citation: Source of the accuracy.
        license: Of the file.
    """

    name: str = "imagenet"
    url: str
    checksum: str | None
    source: str
    mapping: str
    options: Mapping[str, Any] = field(default_factory=dict)
    top: bool = True
    classes: str | tuple[str, ...] = "imagenet"
    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    crop_mode: str = "center"
    accuracy: float | None
    citation: str
    license: str

    def __post_init__(self):
        for name in ("resize", "crop"):
            check_integer(name, getattr(self, name), 1, "a positive integer")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode must be one of {', '.join(CROP_MODES)}, got {self.crop_mode!r}")
        kind, _, digits = (self.checksum or "md5:" + "0" * 32).partition(":")
        length = {"md5": len(digits) == 32, "sha256": 8 <= len(digits) <= 64}
        if not length.get(kind) or not set(digits) <= set("0123456789abcdef"):
            raise ValueError(f'checksum must be "md5:" or "sha256:" and hexadecimal digits, got {self.checksum!r}')

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How images are resized and cropped, as in the metadata of a model."""
        mode = {} if self.crop_mode == "center" else {"crop_mode": self.crop_mode}
        return {"resize": self.resize, "crop": self.crop, "interpolation": self.interpolation, **mode}


@check_keywords
@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Define one network: the functions that build it, and what its paper reports.

    Args:
        backbone: Function `(x, *, <options>) -> features`, with explicit keyword options.
        keras: For a network that exists only as Keras code, in place of a backbone: function
            `(input_shape, classes, *, <options>) -> keras.Model`, a functional model from pixels 0..255 to logits. Its
            graph is read from the model, and takes no overrides.
        head: Function `(x, classes, *, <options>) -> logits`. An option has one meaning in backbone and head.
        aux: Auxiliary classifiers `(x, classes, *, name, <options>) -> logits` by the layer they are attached to.
        input_shape: Standard (rows, columns, channels).
        classes: Standard number of classes.
        reference: Source, such as "arXiv:1409.4842, table 1".
        year: Of the first publication.
        params: Trainable parameters at `classes` and `input_shape`, without auxiliary classifiers.
        macs: Published multiply-accumulates for one image, verified to 0.1%.
        map_sizes: Published rows of the feature maps at `input_shape`, each once, from the first layer to the features,
            such as (112, 56, 28, 14, 7). Where no `macs` are published, they show a wrong padding.
        receptive_field: Published receptive field of the features, pixels a side.
        min_input_size: Published side of the smallest image.
        rescale: First op: converts pixels 0..255.
        options: Values that replace the functions' defaults.
        overrides: Attributes of layers by address, other than the backbone's.
        variants: Fields that differ, by the variant's name: {"bn": {"options": {"norm": True}, "params": 7_005_832}}.
            weight_mappings, weights, macs, receptive_field and min_input_size are a variant's own, never inherited.
        weight_mappings: Of other libraries' weight files, by publisher.
        weights: Pretrained weights; the first of a name and options is the one that both mean.
    """

    backbone: Callable[..., Any] | None = None
    keras: Callable[..., Any] | None = None
    head: Callable[..., Any] = blocks.head
    aux: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    reference: str
    year: int | None = None
    params: int | None = None
    macs: float | None = None
    map_sizes: tuple[int, ...] = ()
    receptive_field: int | None = None
    min_input_size: int | None = None
    rescale: Any = field(default_factory=Rescale)
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weight_mappings: Mapping[str, WeightMapping] = field(default_factory=dict)
    weights: tuple[Weights, ...] = ()

    def __post_init__(self):
        kinds = (
            ("reference", str),
            ("options", Mapping),
            ("overrides", Mapping),
            ("variants", Mapping),
            ("weight_mappings", Mapping),
            ("aux", Mapping),
            ("weights", tuple),
        )
        for name, kind in kinds:
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        for name in ("year", "receptive_field", "min_input_size"):
            check_argument(name, getattr(self, name), int | None)
        check_argument("macs", self.macs, float | None)
        check_argument("map_sizes", self.map_sizes, tuple[int, ...])
        for name in ("backbone", "keras"):
            if not (getattr(self, name) is None or callable(getattr(self, name))):
                raise TypeError(f"{name} must be a function, got {getattr(self, name)!r}")
        if not all(isinstance(weights, Weights) for weights in self.weights):
            raise TypeError(f"weights must be kcnn.Weights, got {self.weights!r}")
        if (self.backbone is None) == (self.keras is None):
            raise TypeError("an architecture needs either a backbone or the function `keras` that makes its model")
        if self.keras is not None and (self.aux or self.overrides):
            raise TypeError("a network of Keras code takes no aux and no overrides: its layers have no addresses")
        if not isinstance(self.input_shape, tuple) or len(self.input_shape) != 3:
            raise TypeError(f"input_shape must be (rows, columns, channels), got {self.input_shape!r}")
        sizes = (*zip(("rows", "columns", "channels"), self.input_shape, strict=True), ("classes", self.classes))
        for name, size in (*sizes, ("params", self.params or 0)):
            check_integer(name, size, 0 if name == "params" else 1, "a positive integer")
        for builder in self.builders:
            if not callable(builder):
                raise TypeError(f"a backbone, head or auxiliary classifier must be a function, got {builder!r}")
            _check_call(builder, 1 if builder is self.backbone else 2)
            if any(p.kind is Parameter.VAR_KEYWORD for p in signature(builder).parameters.values()):
                raise TypeError(f"{builder} takes **kwargs; options must be explicit keyword parameters")

    @property
    def builders(self) -> tuple[Callable[..., Any], ...]:
        """The functions that build it; their keywords are its options."""
        own = self.backbone or self.keras
        assert own is not None
        return (own,) if self.backbone is None else (own, self.head, *self.aux.values())

    @property
    def title(self) -> str:
        """The name of its first function, for an architecture that is not published under a name."""
        return getattr(self.builders[0], "__name__", "network")

    def variant(self, name: str) -> "Architecture":
        """Return the architecture with one variant's fields in place of its own.

        Args:
            name: The variant.

        Returns:
            An architecture without variants.

        Raises:
            UnknownNameError: There is no such variant.
        """
        if name not in self.variants:
            raise unknown("variant", name, self.variants)
        fields = dict(self.variants[name])
        for merged in ("options", "overrides"):
            fields[merged] = {**getattr(self, merged), **fields.get(merged, {})}
        own: dict[str, Any] = {"weight_mappings": {}, "weights": (), "macs": None}  # never inherited
        own |= {"receptive_field": None, "min_input_size": None}
        return replace(self, variants={}, **{**own, **fields})

    def defaults(self) -> dict[str, Any]:
        """Return every option of backbone and head with its default value."""
        options: dict[str, Any] = {}
        for builder in self.builders:
            options = {**keyword_defaults(builder), **options}
        return {**options, **self.options}


def _check_call(builder: Callable[..., Any], count: int) -> None:
    """Refuse a function that does not take one argument (a backbone) or two by position."""
    parameters = signature(builder).parameters.values()
    by_position = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is Parameter.empty for p in by_position)
    takes_more = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    if required > count or (len(by_position) < count and not takes_more):
        expected = "x" if count == 1 else "x (or input_shape) and classes"
        name = getattr(builder, "__name__", builder)
        raise TypeError(f"{name} must take {expected} by position, and options by keyword after a *")


@lru_cache(maxsize=1024)
def keyword_defaults(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the keyword options of a backbone or head with their default values."""
    return {
        p.name: p.default
        for p in signature(function).parameters.values()
        if p.kind is Parameter.KEYWORD_ONLY and p.name != "name"
    }
