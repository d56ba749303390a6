"""Experiments: variants of a network or a training, measured with several seeds."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import keras

from kcnn.graph.argument_kinds import check_arguments

Data = TypeVar("Data")
Result = TypeVar("Result")


@check_arguments
def measure_variants(
    variants: Iterable[str],
    seeds: Iterable[int],
    load: Callable[[int], Data],
    evaluate: Callable[[str, Data, int], Result],
    *,
    describe: Callable[[Result], str],
    log: Callable[[str], None] = print,
) -> dict[str, list[Result]]:
    """Measure each variant with each seed; with one seed all variants have the same data, so that they can be paired.

    Keras' global state is cleared after each measurement, since models would otherwise accumulate in memory.

    Args:
        variants: Names.
        seeds: Seeds of data and initial weights.
        load: Returns the data of a seed.
        evaluate: Returns the result of (variant, data, seed).
        describe: Returns a result as text, for the log.
        log: Called with one line for each measurement.

    Returns:
        The results of each variant, by seed.
    """
    results: dict[str, list[Result]] = {name: [] for name in variants}
    for seed in seeds:
        data = load(seed)
        for name, row in results.items():
            row.append(evaluate(name, data, seed))
            log(f"seed {seed}, {name}: {describe(row[-1])}")
            keras.backend.clear_session()
    return results


@check_arguments
def name_run_folder(out: Path, seed: int, name: str) -> Path:
    """Return the folder of a run of an experiment: seed-0/head-only for "head only".

    Args:
        out: Folder of the experiment.
        seed: Of the run.
        name: The variant or protocol.

    Returns:
        The folder; it need not exist.
    """
    return out / f"seed-{seed}" / name.replace(" ", "-")
