"""Training: `train` into a folder by a recipe, and the pieces of recipes, each usable with plain Keras."""

from kcnn.training.losses import CrossEntropy, accuracy, balanced
from kcnn.training.optimizers import SGD, adamw, schedule, sgd
from kcnn.training.recipe import RECIPES, Recipe, recipe
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
