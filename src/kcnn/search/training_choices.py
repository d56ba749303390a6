"""The choices of the training of a space, checked like the values of a recipe. No Keras here."""

from collections.abc import Iterator, Sequence

from kcnn.search.space import Range, Space
from kcnn.training.config import TrainConfig
from kcnn.training.recipes import Recipe, get_recipe


def check_training(space: Space, train: TrainConfig, size: Sequence[int]) -> None:
    """Check the values of the choices of the training like those of a recipe.

    Args:
        space: The space.
        train: How each trial is trained.
        size: Rows and columns of an image.

    Raises:
        UnknownNameError: A field of the recipe is unknown.
        ValueError: A value of the recipe is invalid, or cannot be searched.
    """
    if {"epochs", "patience"} & {*space.training}:
        raise ValueError("epochs and patience cannot be searched: trials of different epochs do not compare")
    for recipe in _recipes(space, train):
        recipe.augmentation.check_size(size)


def find_resize_factor(space: Space, train: TrainConfig) -> float:
    """Return how many times the input's sides a large image is kept at, enough for the crops of every trial.

    Args:
        space: The space.
        train: How each trial is trained.

    Returns:
        `resize_factor` of kcnn.data.load.
    """
    recipes = (train.resolved_recipe, *_recipes(space, train))
    return max(recipe.augmentation.resize_factor for recipe in recipes)


def _recipes(space: Space, train: TrainConfig) -> Iterator[Recipe]:
    """The recipe with each value of each choice of the training."""
    for choice in space.all_choices:
        if choice.name in space.training:
            values = choice.values
            for value in (values.low, values.high) if isinstance(values, Range) else values:
                yield get_recipe(train.resolved_recipe, {choice.name: value})
