"""How a network is trained: the record that a run, a search and the command line hold and pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from kcnn.graph.names import unknown
from kcnn.training.phases import TrainingPhase
from kcnn.training.recipes import RECIPES, Recipe, get_recipe

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")
STRATEGIES = ("auto", "single", "mirrored", "multiworker")
OPERATIONAL = ("auto_batch_size", "tensorboard", "cache_features")  # they change no result, so they tell no runs apart


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained: recipe, epochs, batch size, seed, precision, strategy.

    Args:
        recipe: A recipe by name ("quick", "paper", "strong"), or a Recipe.
        epochs: Number of epochs; the recipe's where it is None.
        batch_size: Images per step over all devices; the recipe's where it is None.
        learning_rate: Peak learning rate; the recipe's where it is None.
        recipe_overrides: Other fields of the recipe or its augmentation, such as {"flip": False}.
        seed: Seed of initial weights, splits, order and augmentation.
        multi_label: Whether an image may have any number of labels.
        precision: "auto", "float32", "mixed_float16" or "mixed_bfloat16".
        strategy: "auto", "single", "mirrored" or "multiworker" (see kcnn.distribute).
        auto_batch_size: Whether a batch size that does not fit in memory is halved.
        tensorboard: Whether events for TensorBoard are written.
        load_head: Whether pretrained weights include the classifier.
        phase: What trains; everything where it is None. A phase brings its own epochs and learning rate.
        cache_features: Whether the outputs of a frozen part are computed once where nothing augments images.

    Raises:
        UnknownNameError: A recipe, one of its fields, a precision or a strategy is unknown.
        ValueError: A value does not fit; a phase is given with epochs or a learning rate.
    """

    recipe: str | Recipe = "quick"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    recipe_overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    multi_label: bool = False
    precision: str = "auto"
    strategy: str = "auto"
    auto_batch_size: bool = False
    tensorboard: bool = False
    load_head: bool = True
    phase: TrainingPhase | None = None
    cache_features: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe_overrides", dict(self.recipe_overrides or {}))
        if self.phase and (self.epochs is not None or self.learning_rate is not None):
            raise ValueError("a phase brings its own epochs and learning rate; set them there")
        for name, known in (("precision", PRECISIONS), ("strategy", STRATEGIES)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        _ = self.resolved_recipe

    @property
    def resolved_recipe(self) -> Recipe:
        """The recipe with every override applied."""
        source = self.phase or self
        words = {"epochs": source.epochs, "batch_size": self.batch_size, "learning_rate": source.learning_rate}
        given = {name: value for name, value in words.items() if value is not None}
        return get_recipe(self.recipe, {**self.recipe_overrides, **given})

    @property
    def recipe_name(self) -> str:
        """The recipe's name; "own" for a Recipe without one."""
        return self.recipe if isinstance(self.recipe, str) else "own"

    def describe(self) -> dict[str, Any]:
        """Return what tells one training from another, as JSON values: the recipe resolved, its name, seed, ..."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in OPERATIONAL}
        resolved = {"recipe": self.resolved_recipe.asdict(), "recipe_name": self.recipe_name}
        rest = ("seed", "multi_label", "precision", "strategy", "load_head")
        phase = {"phase": self.phase.asdict()} if self.phase else {}
        return {**resolved, **{name: values[name] for name in rest}, **phase}

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; fields that are as they are by default are left out."""
        defaults = {f.name: f.default for f in fields(self)} | {"recipe_overrides": {}}
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        found = {name: value for name, value in values.items() if value != defaults[name]}
        return {name: value.asdict() if hasattr(value, "asdict") else value for name, value in found.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Return the record that `to_json` or `describe` wrote.

        Raises:
            UnknownNameError: A field is unknown.
        """
        known = [*(f.name for f in fields(cls)), "recipe_name"]
        for name in values:
            if name not in known:
                raise unknown("field of a train config", name, known)
        found = {name: value for name, value in values.items() if name != "recipe_name"}
        if isinstance(found.get("recipe"), Mapping):
            found["recipe"] = Recipe.fromdict(found["recipe"])
        if values.get("recipe_name") in RECIPES:
            found["recipe_overrides"] = found["recipe"].diff(RECIPES[values["recipe_name"]])
            found["recipe"] = values["recipe_name"]
        if isinstance(found.get("phase"), Mapping):
            found["phase"] = TrainingPhase(**found["phase"])
        return cls(**found)

    def diff(self, other: "TrainConfig") -> list[tuple[str, Any, Any]]:
        """Return (field, value here, value there) of each field that differs."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [(name, here, there) for name, here, there in pairs if here != there]
