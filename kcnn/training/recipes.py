"""What a training consists of: a record of every choice, three tried sets, and changes by name."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kcnn.augment import Augmentation

OPTIMIZERS = ("sgd", "adamw")  # the second without weight decay is Adam
SCHEDULES = ("cosine", "step", "constant")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Keras' optimizers and schedules, and what is done to images and labels.

    `warm_up` and `drops` are shares of all steps: the learning rate rises from 0 over the first, and
    the schedule "step" divides it by 10 at each of the second. `weight_decay` spares biases and
    norms. `clip` bounds the norm of all gradients together, `ema` is the momentum of an average of
    the weights that is tested and saved in their place, `patience` the epochs without a new best
    validation accuracy after which training stops; each is off at 0. `class_weights` "balanced"
    gives every class the same part in the loss. ValueError for what is none of that.
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 1e-3  # at its highest
    schedule: str = "cosine"
    warmup: float = 0.05
    milestones: tuple[float, ...] = (0.5, 0.75)
    momentum: float = 0.9  # of SGD
    nesterov: bool = True
    weight_decay: float = 0.0
    clip_global_norm: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str | None = None
    ema_momentum: float = 0.0
    patience: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        wants = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            ("warmup", 0 <= self.warmup < 1, "a share of all steps, from 0 up to 1"),
            ("milestones", all(0 < share < 1 for share in self.milestones), "shares of all steps between 0 and 1"),
            ("milestones", list(self.milestones) == sorted(set(self.milestones)), "in rising order"),
            ("momentum", 0 <= self.momentum < 1, "from 0 up to 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("clip_global_norm", self.clip_global_norm >= 0, "at least 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 up to 1"),
            ("class_weights", self.class_weights in (None, "balanced"), '"balanced" or None'),
            ("ema_momentum", 0 <= self.ema_momentum < 1, "from 0 up to 1"),
            ("patience", self.patience >= 0, "at least 0"),
        )
        for name, holds, wanted in wants:
            if not holds:
                raise ValueError(f"{name} must be {wanted}, not {getattr(self, name)!r}")

    def asdict(self) -> dict[str, Any]:
        """Every choice by name, as JSON has it; those of the augmentation under its name."""
        return dataclasses.asdict(self)

    def diff(self, other: "Recipe") -> dict[str, Any]:
        """Return the fields of this recipe and its augmentation that differ from another's."""
        pairs = ((self, other), (self.augmentation, other.augmentation))
        values = ((f.name, getattr(a, f.name), getattr(b, f.name)) for a, b in pairs for f in dataclasses.fields(a))
        return {name: here for name, here, there in values if here != there and name != "augmentation"}

    @classmethod
    def fromdict(cls, told: Mapping[str, Any]) -> "Recipe":
        """The recipe that `asdict` told of, with or without JSON in between."""
        return get_recipe(cls(), {**{k: v for k, v in told.items() if k != "augmentation"}, **told["augmentation"]})


RECIPES = {
    # Adam for a first look: what `kcnn train` does when nobody says otherwise.
    "quick": Recipe(),
    # The training of CIFAR-10 in the ResNet paper (arXiv:1512.03385, section 4.2): 64,000 steps of 128 images,
    # the rate divided by 10 after 32,000 and 48,000, images shifted by up to 4 pixels and mirrored.
    "paper": Recipe(
        epochs=182,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="step",
        warmup=0.0,
        nesterov=False,
        weight_decay=1e-4,
        augmentation=Augmentation(flip=True, crop=4),
    ),
    # What image classification has added since, for long runs on many images.
    "strong": Recipe(
        epochs=100,
        batch_size=64,
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        clip_global_norm=1.0,
        label_smoothing=0.1,
        ema_momentum=0.999,
        augmentation=Augmentation(
            flip=True, resized_crop=(0.25, 1.0), rand_augment=(2, 0.5), erase=0.25, mixup=0.2, cutmix=1.0
        ),
    ),
}


def get_recipe(asked: str | Recipe, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name or as it is, with fields of it or of its augmentation changed by name; None is a value.

    LookupError with the names there are; ValueError for a value that does not fit.
    """
    if isinstance(asked, str):
        if asked not in RECIPES:
            raise LookupError(f"there is no recipe {asked!r}; there are {', '.join(RECIPES)}")
        asked = RECIPES[asked]
    changes = changes or {}
    own, inner = ({f.name for f in dataclasses.fields(kind)} for kind in (Recipe, Augmentation))
    unknown = sorted(set(changes) - own - inner)
    if unknown:
        raise LookupError(
            f"a recipe has no {unknown[0]!r}; it has {', '.join(sorted((own | inner) - {'augmentation'}))}"
        )
    for name, value in changes.items():
        _check(name, value)
    within = {name: value for name, value in changes.items() if name in inner}
    augmentation = dataclasses.replace(changes.get("augmentation", asked.augmentation), **within)
    rest = {name: value for name, value in changes.items() if name in own}
    return dataclasses.replace(asked, **{**rest, "augmentation": augmentation})


def _check(name: str, value: Any) -> None:
    """Refuse a value of another kind than a recipe's field has; those of an augmentation are checked by it."""
    if name == "augmentation" and not isinstance(value, Augmentation):
        raise ValueError(f"augmentation is a kcnn.augment.Augmentation, or its fields by name, not {value!r}")
    if name == "milestones" and not (
        isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value)
    ):
        raise ValueError(f"drops is a list of shares of all steps such as [0.5, 0.75], not {value!r}")
    kinds: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}
    kind = next((f.type for f in dataclasses.fields(Recipe) if f.name == name), None)
    fits = kinds.get(kind)
    if fits and (not isinstance(value, fits) or (isinstance(value, bool) and kind is not bool)):
        raise ValueError(f"{name} is {getattr(kind, '__name__', kind)}, not {value!r}")
