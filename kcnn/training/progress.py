"""Progress of a training as Keras shows it: in a notebook and on a terminal, unless it is quiet."""

import sys
from collections.abc import Callable
from typing import Any

import keras

from kcnn.graph.arguments import wrong_value

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
