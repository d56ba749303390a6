"""Training: `train` into a folder by a recipe, and the pieces of recipes, each usable with plain Keras.

Each word is imported when it is first used: recipes can be looked at and checked without Keras.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.training.losses import CrossEntropy, make_accuracy, balance_class_weights
    from kcnn.training.optimizers import SGD, adamw, schedule, sgd
    from kcnn.training.recipes import RECIPES, Recipe, get_recipe
    from kcnn.training.run import OutOfMemoryError, TrainResult, train
    from kcnn.training.watch import NonFiniteLossError

__all__ = [
    "RECIPES",
    "SGD",
    "CrossEntropy",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "Recipe",
    "TrainResult",
    "make_accuracy",
    "adamw",
    "balance_class_weights",
    "get_recipe",
    "schedule",
    "sgd",
    "train",
]

__getattr__, __dir__ = words(
    __name__,
    {
        "losses": ("CrossEntropy", "accuracy", "balanced"),
        "optimizers": ("SGD", "adamw", "schedule", "sgd"),
        "recipes": ("RECIPES", "Recipe", "recipe"),
        "run": ("OutOfMemory", "Run", "train"),
        "watch": ("NotFinite",),
    },
    globals(),
)
