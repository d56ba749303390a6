"""What a plugin publishes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

from kcnn import blocks
from kcnn.graph.names import suggest
from kcnn.graph.ops import Rescale


@dataclass(frozen=True, kw_only=True)
class WeightMapping:
    """How somebody else's files name a network's layers.

    `names` takes the layers that have weights, in the order in which the head's inputs are
    followed back, and gives the file's name of each, or the names it may have. `numbered` are
    Keras' own names by kind and number; they count from 0 here, "conv2d_0", "conv2d_1", wherever
    the file began. `bgr` says that the first kernel expects blue, green, red.
    """

    names: Callable[[Sequence[str]], Mapping[str, str | tuple[str, ...]]]
    bgr: bool = False
    numbered: bool = False


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Trained weights that somebody publishes for one variant, its options and its input scaling.

    Facts for whoever loads them: `layout` is a key of the architecture's layouts, `top` whether
    the file has the classifier. Pictures go in as they did when `accuracy` was measured: the
    shorter side resized to `resize` with `interpolation`, then the middle `crop` pixels.
    """

    name: str = "imagenet"
    url: str
    checksum: str | None  # "md5:..." or "sha256:..." in hex, of the latter at least 8 digits; None: unpublished
    source: str  # who publishes them
    mapping: str
    options: Mapping[str, Any] = field(default_factory=dict)
    top: bool = True
    classes: str | tuple[str, ...] = "imagenet"  # their names, or the word for a list of kcnn.architectures.class_names
    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    accuracy: float | None  # top-1, per cent, ImageNet's validation set; None: not cited
    citation: str  # where that figure stands
    license: str

    def __post_init__(self):
        kind, _, digits = (self.checksum or "md5:" + "0" * 32).partition(":")
        length = {"md5": len(digits) == 32, "sha256": 8 <= len(digits) <= 64}
        if not length.get(kind) or not set(digits) <= set("0123456789abcdef"):
            raise ValueError(f'a hash is "md5:" or "sha256:" and hexadecimal digits, not {self.checksum!r}')


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How to draw one network, and what its paper says of it.

    `body(x, **options) -> features` and `head(x, classes, **options) -> logits` are functions with
    explicit keyword options; one word means one thing in both. `aux` puts further heads
    `(x, classes, *, name, **options) -> logits` on layers of the body, by address.
    `variants` maps a name to the fields that differ: {"bn": {"options": {"norm": True}, "params": 7_005_832}};
    layouts, weights, macs, receptive_field and smallest_input are a variant's own, and never inherited.

    A network that exists only as Keras code has no body but `keras(input_shape, classes, **options)`, which gives
    a functional keras.Model from pixels 0..255 to logits; its sketch is read from that, and no address changes it.
    """

    backbone: Callable[..., Any] | None = None
    keras: Callable[..., Any] | None = None  # in the place of a body: what makes the whole model
    head: Callable[..., Any] = blocks.head
    aux: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    input_shape: tuple[int, int, int] = (224, 224, 3)  # rows, columns, channels
    classes: int = 1000
    reference: str  # "arXiv:1409.4842, table 1"
    year: int | None = None  # of the first publication
    params: int | None = None  # trainable, at `classes` and `input_shape`, without auxiliary heads
    macs: float | None = None  # published multiply-accumulates for one image, which are checked to 0.1 %
    receptive_field: int | None = None  # the published receptive field of the features, pixels a side
    min_input_size: int | None = None  # the published side of the smallest image
    rescale: Any = field(default_factory=Rescale)  # the first op: what pixels 0..255 become
    options: Mapping[str, Any] = field(default_factory=dict)  # values other than the functions' defaults
    overrides: Mapping[str, Any] = field(default_factory=dict)  # layers other than the body's, by address
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weight_mappings: Mapping[str, WeightMapping] = field(
        default_factory=dict
    )  # of others' weight files, by who writes them
    weights: tuple[Weights, ...] = ()  # the first of a name and options is the one meant by both

    def __post_init__(self):
        kinds = (
            ("reference", str),
            ("variants", Mapping),
            ("weight_mappings", Mapping),
            ("aux", Mapping),
            ("weights", tuple),
        )
        for name, kind in kinds:
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is a {kind.__name__}, not {getattr(self, name)!r}")
        if not all(isinstance(one, Weights) for one in self.weights):
            raise TypeError(f"weights are kcnn.Weights, not {self.weights!r}")
        if (self.backbone is None) == (self.keras is None):
            raise TypeError("an architecture has a body, or the function `keras` that makes its model: one of the two")
        if self.keras is not None and (self.aux or self.overrides):
            raise TypeError("a network of Keras code has no aux and no changes: no address reaches its layers")
        for part in self.builders:
            if any(p.kind is Parameter.VAR_KEYWORD for p in signature(part).parameters.values()):
                raise TypeError(f"{part} takes **kwargs; options are explicit keyword parameters")

    @property
    def builders(self) -> tuple[Callable[..., Any], ...]:
        """The functions that make it, whose keywords are its options."""
        own = self.backbone or self.keras
        assert own is not None
        return (own,) if self.backbone is None else (own, self.head, *self.aux.values())

    @property
    def title(self) -> str:
        """What it is called where no name was published."""
        return getattr(self.builders[0], "__name__", "network")

    def variant(self, name: str) -> "Architecture":
        """The architecture with one variant's fields in place of its own."""
        try:
            fields = dict(self.variants[name])
        except KeyError:
            if not self.variants:
                raise ValueError(f"there is no variant {name!r}; this architecture has none") from None
            there = dict.fromkeys([*suggest(name, self.variants), *self.variants])  # the nearest first
            raise ValueError(f"there is no variant {name!r}; there are {', '.join(there)}") from None
        for merged in ("options", "overrides"):
            fields[merged] = {**getattr(self, merged), **fields.get(merged, {})}
        own: dict[str, Any] = {"weight_mappings": {}, "weights": (), "macs": None}  # never inherited
        own |= {"receptive_field": None, "min_input_size": None}
        return replace(self, variants={}, **{**own, **fields})

    def defaults(self) -> dict[str, Any]:
        """Every option of body and head with the value it has when nobody asks."""
        found: dict[str, Any] = {}
        for part in self.builders:
            found = {**keyword_defaults(part), **found}
        return {**found, **self.options}


@lru_cache(maxsize=1024)
def keyword_defaults(part: Callable[..., Any]) -> Mapping[str, Any]:
    """Keyword options of a body or head, with their defaults."""
    return {
        p.name: p.default
        for p in signature(part).parameters.values()
        if p.kind is Parameter.KEYWORD_ONLY and p.name != "name"
    }
