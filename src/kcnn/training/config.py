"""The request for a training run as a value: what train takes, and config.json and workers hold. No Keras here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from kcnn.augment import Augmentation
from kcnn.distribute.cluster import START_ONCE, require_one_process
from kcnn.graph.arguments import check_integer, check_keywords, check_kind, check_mapping, check_seed
from kcnn.graph.names import unknown
from kcnn.graph.overrides import to_builtin
from kcnn.training.phases import TrainingPhase
from kcnn.training.recipes import RECIPES, Recipe, get_recipe, list_options

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")
STRATEGIES = ("auto", "single", "mirrored", "multiworker")
IDENTIFYING = ("seed", "multi_label", "precision", "strategy", "load_head")  # beside the recipe and the phase


@check_keywords(within={"recipe_overrides={{{!r}: ...}}": list_options()})
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Define how a network is trained: recipe, epochs, batch size, seed, precision, strategy.

    Args:
        recipe: A name ("auto", "quick", "paper", "strong"), or a Recipe. With "auto", batch size, epochs, early
            stopping, augmentation and the momentum of batch normalization follow from the training images.
        epochs: Number of epochs; None for the recipe's.
        batch_size: Images per step, over all devices; None for the recipe's.
        learning_rate: Peak learning rate; None for the recipe's.
        recipe_overrides: Other fields of the recipe or its augmentation, such as {"flip": False}.
        seed: Seed of initial weights, splits, order and augmentation.
        multi_label: Whether an image may have any number of labels.
        precision: "float32", "mixed_float16" or "mixed_bfloat16"; "auto" chooses by device and network, and a run
            that is resumed on another device keeps what was chosen.
        strategy: "auto", "single", "mirrored" or "multiworker" (see kcnn.distribute).
        auto_batch_size: Whether to halve a batch size that does not fit in memory.
        tensorboard: Whether to write events for TensorBoard.
        load_head: Whether pretrained weights include the classifier.
        phase: Which layers train; None for all. A phase has its own epochs and learning rate.
        cache_features: Whether to compute the outputs of frozen layers once, where images are not augmented.
        folds: Cross-validation: number of folds of the train and validation images, each of which validates a training
            on the others; None for none. The test split is left out of them.

    Raises:
        TypeError: A value is no record of the type it must have.
        UnknownNameError: A recipe, one of its options, a precision or a strategy is unknown.
        ValueError: A value is out of range; a phase is combined with epochs or a learning rate, or folds with early
            stopping, auto_batch_size or several workers.
    """

    recipe: str | Recipe = "auto"
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
    folds: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, to_builtin(getattr(self, item.name)))
        check_kind("recipe", self.recipe, str | Recipe, "a name or a Recipe")
        check_kind("phase", self.phase, TrainingPhase | None, "a TrainingPhase")
        if self.recipe_overrides is not None:
            check_mapping("recipe_overrides", self.recipe_overrides, "{'flip': False}")
        object.__setattr__(self, "recipe_overrides", self.recipe_overrides or {})
        object.__setattr__(self, "seed", check_seed(self.seed))
        for name in ("multi_label", "auto_batch_size", "tensorboard", "load_head", "cache_features"):
            check_kind(name, getattr(self, name), bool, "True or False")
        for name in ("precision", "strategy"):
            check_kind(name, getattr(self, name), str, "text")
        if self.phase and (self.epochs is not None or self.learning_rate is not None):
            raise ValueError("a training phase has its own epochs and learning rate; set them in the TrainingPhase")
        for name, known in (("precision", PRECISIONS), ("strategy", STRATEGIES)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        _ = self.resolved_recipe  # refuses unknown names and values out of range
        if self.folds is not None:
            check_integer("folds", self.folds, 2, "an integer of at least 2")
            self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse what cannot be combined with folds."""
        if self.resolved_recipe.patience:
            raise ValueError(
                "folds cannot be combined with early stopping: the mean over folds chooses the epoch, and all train "
                "to the end; set patience to 0"
            )
        if self.auto_batch_size:
            raise ValueError(
                "folds cannot be combined with auto_batch_size, which may change the batch size between folds; set a "
                "batch_size that fits"
            )
        if self.strategy == "multiworker":
            raise ValueError('folds cannot be combined with strategy "multiworker"; use "single" or "mirrored"')

    def check_process(self) -> None:
        """Refuse folds where this process is one of several workers.

        Raises:
            ValueError: TF_CONFIG or Slurm makes this process one of several workers.
        """
        if self.folds and self.strategy == "auto":
            require_one_process("a cross-validation", START_ONCE)

    @cached_property
    def resolved_recipe(self) -> Recipe:
        """The recipe with all overrides applied; of "auto" without what follows from the data (see `with_defaults`)."""
        source = self.phase or self
        overrides = {"epochs": source.epochs, "batch_size": self.batch_size, "learning_rate": source.learning_rate}
        given = {name: value for name, value in overrides.items() if value is not None}
        return get_recipe(self.recipe, {**self.recipe_overrides, **given})

    @property
    def own_options(self) -> set[str]:
        """The names of the recipe's options that this config sets itself."""
        fields_of_recipe = ("epochs", "batch_size", "learning_rate")
        return {*self.recipe_overrides, *(name for name in fields_of_recipe if getattr(self, name) is not None)}

    def with_defaults(self, defaults: Mapping[str, Any]) -> "TrainConfig":
        """Return this config with recipe options that it leaves open.

        Args:
            defaults: Recipe options, from kcnn.training.defaults.

        Returns:
            The config; what it sets itself stays.
        """
        if "augmentation" in self.recipe_overrides:  # given as a whole
            defaults = {name: value for name, value in defaults.items() if name not in asdict(Augmentation())}
        return replace(self, recipe_overrides={**defaults, **self.recipe_overrides})

    @property
    def recipe_name(self) -> str:
        """The recipe's name; "own" for a Recipe."""
        return self.recipe if isinstance(self.recipe, str) else "own"

    def describe(self) -> dict[str, Any]:
        """Return all that distinguishes two trainings, as JSON values: the recipe in full, its name, seed, ..."""
        recipe = {"recipe": self.resolved_recipe.to_json(), "recipe_name": self.recipe_name}
        phase = {"phase": self.phase.to_json()} if self.phase else {}
        folds = {"folds": self.folds} if self.folds else {}
        return {**recipe, **{name: getattr(self, name) for name in IDENTIFYING}, **phase, **folds}

    def to_json(self) -> dict[str, Any]:
        """Return the config as JSON values; fields with their default values are left out."""
        defaults = {f.name: f.default for f in fields(self)} | {"recipe_overrides": {}}
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {name: value for name, value in values.items() if value != defaults[name]}
        if "augmentation" in self.recipe_overrides:
            augmentation = asdict(self.recipe_overrides["augmentation"])
            changed["recipe_overrides"] = {**self.recipe_overrides, "augmentation": augmentation}
        return {name: value.to_json() if hasattr(value, "to_json") else value for name, value in changed.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Return the config that `to_json` or `describe` wrote.

        Args:
            values: JSON values.

        Returns:
            The config.

        Raises:
            UnknownNameError: A field is unknown.
        """
        known = [*(f.name for f in fields(cls)), "recipe_name"]
        for name in values:
            if name not in known:
                raise unknown("train config key", name, known)
        keywords = {name: value for name, value in values.items() if name != "recipe_name"}
        if isinstance(keywords.get("recipe"), Mapping):
            keywords["recipe"] = Recipe.from_json(keywords["recipe"])
        overrides = keywords.get("recipe_overrides") or {}
        if "augmentation" in overrides:
            augmentation = Recipe.from_json({"augmentation": overrides["augmentation"]}).augmentation
            keywords["recipe_overrides"] = {**overrides, "augmentation": augmentation}
        if isinstance(keywords.get("phase"), Mapping):
            keywords["phase"] = TrainingPhase(**keywords["phase"])
        if values.get("recipe_name") in RECIPES:
            overrides = keywords["recipe"].diff(RECIPES[values["recipe_name"]])
            of_phase = ("epochs", "learning_rate") if "phase" in keywords else ()
            overrides = {name: value for name, value in overrides.items() if name not in of_phase}
            keywords |= {"recipe": values["recipe_name"], "recipe_overrides": overrides}
        return cls(**keywords)

    def diff(self, other: "TrainConfig") -> list[tuple[str, Any, Any]]:
        """Return (field, value of this config, value of the other) for each field that differs."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [(name, here, there) for name, here, there in pairs if here != there]
