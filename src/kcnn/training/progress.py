"""Progress of a training as Keras shows it: in a notebook and on a terminal, unless it is quiet."""

import sys
from collections.abc import Callable
from typing import Any

import keras

from kcnn.data import ImageDataset
from kcnn.data.splits import describe_duplicates
from kcnn.graph.arguments import wrong_value
from kcnn.graph.formatting import format_size
from kcnn.training.split_record import SPLITS

LEVELS = (0, 1, 2)  # of Keras' fit: nothing, a bar for each epoch, a line for each epoch


def resolve_verbosity(verbose: Any) -> int:
    """Return the level of Keras' fit: "auto" is 1 where a person watches, in a notebook or on a terminal, else 0.

    Raises:
        ValueError: It is no level.
    """
    if verbose == "auto":
        return int(sys.stdout.isatty() or "ipykernel" in sys.modules)
    if verbose not in LEVELS:
        raise wrong_value("verbose", '"auto", 0, 1 or 2', verbose)
    return int(verbose)


def describe_data(data: ImageDataset) -> list[str]:
    """Return what a person should know about the data before a training: splits, input, steps, and duplicates.

    The data's warnings are logged where it is loaded.

    Args:
        data: The data.

    Returns:
        Lines of text.
    """
    titles = dict(zip(SPLITS, ("training", "validation", "test"), strict=True))
    *others, test = (f"{len(data.splits[name]):,} {titles[name]}" for name in SPLITS if name in data.splits)
    return [
        f"{', '.join(others)} and {test} images in {len(data.classes)} classes; "
        f"input {format_size(data.input_shape)}; {data.steps:,} steps of {data.batch_size} images per epoch",
        *describe_duplicates(data.duplicates),
    ]


def show_reading(verbose: int) -> Callable[[int, int, int], None] | None:
    """Return a function that shows how many images are read, as kcnn.data.load calls it; None without progress."""
    if not verbose:
        return None
    bar: Any = None

    def show(before: int, total: int, completed: int) -> None:
        nonlocal bar
        if bar is None:
            print("Reading images")
            bar = keras.utils.Progbar(total, verbose=1, unit_name="image")
        bar.update(before + completed)

    return show
