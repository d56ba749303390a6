"""Training hyperparameters: the record of them, three tested recipes, and overrides by name. No Keras here."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kcnn.augment import Augmentation
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.names import unknown
from kcnn.graph.overrides import to_builtin

OPTIMIZERS = ("sgd", "adamw")  # adamw without weight decay is Adam
SCHEDULES = ("cosine", "step", "constant")


@check_keywords
@dataclass(frozen=True)
class Recipe:
    """Define how a network is trained: optimizer, learning-rate schedule, regularization and data augmentation.

    Args:
        epochs: Number of epochs.
        batch_size: Images per step, over all devices.
        optimizer: "sgd" or "adamw".
        learning_rate: Peak of the schedule.
        schedule: "cosine", "step" or "constant".
        warmup: Fraction of all steps over which the learning rate rises from 0.
        milestones: Fractions of all steps at which the schedule "step" divides the learning rate by 10.
        momentum: Of SGD.
        nesterov: Whether SGD uses Nesterov momentum.
        weight_decay: Of kernels; biases and norms are exempt.
        clip_global_norm: Bound of the norm of all gradients together; 0 for none.
        label_smoothing: Fraction of each label that is spread over all classes.
        class_weights: "balanced" gives each class the same weight in the loss.
        ema_momentum: Momentum of an average of the weights, which is evaluated and saved in place of them; it is lower
            in the first steps; 0 for none.
        norm_momentum: Momentum of the moving averages of batch normalization, where the network's own is higher; None
            for the network's own. Averages over more steps than an epoch has lag behind.
        patience: Early stopping: epochs without a new best validation accuracy; 0 for none.
        augmentation: Data augmentation.

    Raises:
        UnknownNameError: The optimizer or the schedule is unknown.
        ValueError: A value is out of range.
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.05
    milestones: tuple[float, ...] = (0.5, 0.75)
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    clip_global_norm: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str | None = None
    ema_momentum: float = 0.0
    norm_momentum: float | None = None
    patience: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = to_builtin(getattr(self, item.name))
            object.__setattr__(self, item.name, value)
            _check_type(item, value)
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("warmup", 0 <= self.warmup < 1, "a fraction of all steps, from 0 up to 1"),
            ("milestones", all(0 < one < 1 for one in self.milestones), "fractions of all steps between 0 and 1"),
            ("milestones", list(self.milestones) == sorted(set(self.milestones)), "in ascending order"),
            ("momentum", 0 <= self.momentum < 1, "from 0 up to 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("clip_global_norm", 0 <= self.clip_global_norm < math.inf, "at least 0, and finite"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 up to 1"),
            ("class_weights", self.class_weights in (None, "balanced"), '"balanced" or None'),
            ("ema_momentum", 0 <= self.ema_momentum < 1, "from 0 up to 1"),
            ("norm_momentum", self.norm_momentum is None or 0 <= self.norm_momentum < 1, "from 0 up to 1, or None"),
            ("patience", self.patience >= 0, "at least 0"),
        )
        for name, holds, expected in checks:
            if not holds:
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")

    def to_json(self) -> dict[str, Any]:
        """Return every field as JSON values; those of the augmentation under its name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `to_json` wrote.

        Raises:
            UnknownNameError: A field is unknown.
        """
        return get_recipe(
            cls(), {**{k: v for k, v in values.items() if k != "augmentation"}, **values.get("augmentation", {})}
        )

    def diff(self, other: "Recipe") -> dict[str, Any]:
        """Return the fields of this recipe and its augmentation that differ from another's."""
        pairs = ((self, other), (self.augmentation, other.augmentation))
        values = ((f.name, getattr(a, f.name), getattr(b, f.name)) for a, b in pairs for f in dataclasses.fields(a))
        return {name: here for name, here, there in values if here != there and name != "augmentation"}


def _check_type(item: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value of another type than the recipe's field has; Augmentation checks its own."""
    name = item.name
    if name == "augmentation" and not isinstance(value, Augmentation):
        raise ValueError(f"augmentation must be a kcnn.augment.Augmentation, or its fields by name, got {value!r}")
    if name == "milestones" and not (isinstance(value, tuple) and all(isinstance(one, int | float) for one in value)):
        raise ValueError(f"milestones must be a list of fractions of all steps such as [0.5, 0.75], got {value!r}")
    kinds: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}
    kinds[float | None] = (int, float, type(None))
    allowed = kinds.get(item.type)
    if allowed and (not isinstance(value, allowed) or (isinstance(value, bool) and item.type is not bool)):
        raise ValueError(f"{name} must be of type {getattr(item.type, '__name__', item.type)}, got {value!r}")


RECIPES = {
    # The default: batch size, epochs, early stopping, augmentation and momentum of norms follow the training images
    # (see kcnn.training.defaults).
    "auto": Recipe(learning_rate=3e-3, weight_decay=0.05),
    # Adam for a first look.
    "quick": Recipe(),
    # The training of CIFAR-10 in the ResNet paper (arXiv:1512.03385, section 4.2): 64,000 steps of 128 images,
    # the learning rate divided by 10 after 32,000 and 48,000, images padded by 4 pixels, cropped and flipped.
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
    # Techniques of later papers, for long runs on many images.
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


def format_recipe(recipe: Recipe) -> str:
    """Return a recipe's fields on one line; of its augmentation those that are on."""
    fields = dataclasses.asdict(recipe)
    active = {name: value for name, value in fields.pop("augmentation").items() if value}
    return f"{format_options(fields)}; augmentation: {format_options(active) or 'none'}"


def format_options(options: Mapping[str, Any]) -> str:
    """Return options of a recipe by name on one line."""
    return ", ".join(f"{name} {_format_value(value)}" for name, value in options.items())


def _format_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_format_value, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def list_options() -> list[str]:
    """Return the names of all options: the fields of a recipe, then those of its augmentation."""
    names = (f.name for kind in (Recipe, Augmentation) for f in dataclasses.fields(kind))
    return [name for name in names if name != "augmentation"]


@check_arguments
def get_recipe(recipe: str | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe with fields overridden.

    Args:
        recipe: A name ("auto", "quick", "paper", "strong") or a Recipe.
        overrides: Fields of the recipe, or of its augmentation, by name.

    Returns:
        The recipe.

    Raises:
        UnknownNameError: A recipe or a field is unknown.
        ValueError: A value is out of range or of another type.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise unknown("recipe", recipe, RECIPES)
        recipe = RECIPES[recipe]
    overrides = overrides or {}
    own, inner = ({f.name for f in dataclasses.fields(kind)} for kind in (Recipe, Augmentation))
    for name in overrides:
        if name not in own | inner:
            raise unknown("recipe option", name, list_options(), max_choices=len(list_options()))
    recipe = dataclasses.replace(recipe, **{name: value for name, value in overrides.items() if name in own})
    of_augmentation = {name: value for name, value in overrides.items() if name in inner}
    return dataclasses.replace(recipe, augmentation=dataclasses.replace(recipe.augmentation, **of_augmentation))
