"""The choices of the training of a space, checked like the values of a recipe. No Keras here."""

from collections.abc import Sequence

from kcnn.search.space import Range, Space
from kcnn.training.config import TrainConfig
from kcnn.training.recipes import get_recipe


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
    for choice in space.all_choices:
        if choice.name in space.training:
            values = choice.values
            for value in (values.low, values.high) if isinstance(values, Range) else values:
                get_recipe(train.resolved_recipe, {choice.name: value}).augmentation.check_size(size)
