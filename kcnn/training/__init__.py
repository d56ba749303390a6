"""Training: `train` into a folder by a recipe, and the pieces of recipes, each usable with plain Keras.

Each word is imported when it is first used: recipes can be looked at and checked without Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcnn.training.losses import CrossEntropy, accuracy, balanced
    from kcnn.training.optimizers import SGD, adamw, schedule, sgd
    from kcnn.training.recipes import RECIPES, Recipe, recipe
    from kcnn.training.run import OutOfMemory, Run, train
    from kcnn.training.watch import NotFinite

__all__ = [
    "RECIPES",
    "SGD",
    "CrossEntropy",
    "NotFinite",
    "OutOfMemory",
    "Recipe",
    "Run",
    "accuracy",
    "adamw",
    "balanced",
    "recipe",
    "schedule",
    "sgd",
    "train",
]
_HOME = {
    **dict.fromkeys(("CrossEntropy", "accuracy", "balanced"), "losses"),
    **dict.fromkeys(("SGD", "adamw", "schedule", "sgd"), "optimizers"),
    **dict.fromkeys(("RECIPES", "Recipe", "recipe"), "recipes"),
    **dict.fromkeys(("OutOfMemory", "Run", "train"), "run"),
    "NotFinite": "watch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kcnn.training' has no attribute {name!r}")
    value = getattr(import_module(f"kcnn.training.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
