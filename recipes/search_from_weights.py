"""Search from weights: what do morphed weights buy in trials and minutes?

    python recipes/search_from_weights.py                         # digits, and a ResNet that is trained first
    python recipes/search_from_weights.py --data fashion/ --input-size 28x28x1 --images 6000
    python recipes/search_from_weights.py --data hymenoptera/ --network mobilenet_v1 --model-option width=0.25 \\
        --input-size 96 --weights mobilenet_2_5_224_tf_no_top.h5 --epochs 6

Three searches try the same random candidates of the network's default space: from scratch, from scratch with a third of
the epochs, and with as few epochs from the network's weights, morphed to each candidate (kcnn search --weights).
Without --weights the unchanged network is trained first, on the same training images.

Measured for Fashion-MNIST by the second command with --images 3000 --trials 6 on one thread, beside other work; best
validation accuracy (3,000 images) after each trial and processor time, means over seeds 0 to 2, which also draw images,
candidates and initial weights. ResNet-20 with one unit in each stage had been trained for 18 epochs, in 81 s:

    trials  scratch, 6 epochs  scratch, 2 epochs  weights, 2 epochs
         1     81.12% in 26 s     73.94% in 11 s     84.74% in 11 s
         2     83.22% in 49 s     76.60% in 21 s     84.74% in 21 s
         3     83.76% in 70 s     77.66% in 32 s     84.74% in 29 s
         4     83.76% in 87 s     77.66% in 40 s     84.74% in 36 s
         5    84.59% in 116 s     78.12% in 53 s     84.86% in 49 s
         6    84.59% in 144 s     78.72% in 65 s     84.86% in 61 s

With the same epochs, weights are worth 6.13 points after 6 trials (3.52 to 8.75). Against scratch with three times the
epochs they lead by 3.62 points after the first trial (1.80 to 5.45) and by 1.52 after the second (1.07 to 1.98); from
the third on no difference is shown (after 6: +0.27, -1.53 to +2.06), in 61 instead of 144 s, and 81 s once for the
weights. Nothing is shown beyond the unchanged network, which is the first trial: from its weights, five candidates more
brought 0.12 points. Intervals are of each comparison alone, of twelve.

Where weights know more than the images teach, they decide. Ants and bees, MobileNet v1 of width 0.25 with its published
ImageNet weights, by the third command with --trials 4; 24 validation images, of which one is 4 points:

    trials  scratch, 6 epochs  scratch, 2 epochs  weights, 2 epochs
         1     52.78% in 14 s     50.00% in 11 s     80.56% in 10 s
         4     65.28% in 54 s     54.17% in 40 s     80.56% in 43 s

After 4 trials weights lead by 15.28 points against scratch (9.30 to 21.25), and by 26.39 with the same epochs (20.41 to
32.36). Again no candidate was better than the unchanged network, which is the first trial.
"""

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.cli.console import parse_assignments
from kcnn.cli.options import parse_input_size
from kcnn.graph.formatting import format_table
from kcnn.search.space import default_space
from kcnn.statistics import compare_paired, estimate_mean

SHORTER = 3
SCRATCH, SHORT, WEIGHTS = "scratch", "scratch, short", "weights, short"


@dataclass(frozen=True)
class Point:
    """Where a search is after a trial.

    Attributes:
        best: The highest validation accuracy so far.
        seconds: Processor time since the start of the search.
    """

    best: float
    seconds: float


def search_once(spec: kcnn.ModelSpec, dataset: Any, trials: int, epochs: int, weights: Any, out: Path) -> list[Point]:
    """Search, and return where it was after each trial."""
    from kcnn.search import SearchConfig, search

    config = SearchConfig(
        trials=trials,
        reduction_factor=0,  # no trial is stopped: the searches differ in nothing else
        keep_checkpoints=0,
        final_seeds=0,
        weights=weights,
        train=kcnn.TrainConfig(
            recipe="quick",
            epochs=epochs,
            batch_size=dataset.batch_size,
            recipe_overrides={"warmup": 0.0, "norm_momentum": 0.9},
            seed=dataset.seed,
        ),
    )
    start, points, best = time.process_time(), [], 0.0

    def keep(trial: Any) -> None:
        nonlocal best
        best = max(best, trial.score or 0.0)
        points.append(Point(best, time.process_time() - start))

    search(default_space(spec), dataset, config, out=out, on_trial_end=keep, log=lambda line: None)
    return points


def print_comparisons(found: dict[str, list[list[Point]]]) -> dict[str, Any]:
    """Print the best accuracy after each trial, and each pair of searches; return the comparisons.

    Args:
        found: Points after each trial, of each seed, by search.
    """
    trials = min(len(points) for one in found.values() for points in one)
    rows, comparisons = [], {}
    for number in range(trials):
        at = {name: [points[number] for points in one] for name, one in found.items()}
        best = {name: [point.best for point in points] for name, points in at.items()}
        cells = [
            f"{sum(values) / len(values):.2%} in {sum(point.seconds for point in at[name]) / len(values):.0f} s"
            for name, values in best.items()
        ]
        rows.append((str(number + 1), *cells))
        if len(best[WEIGHTS]) > 1:
            for other in (SHORT, SCRATCH):
                comparisons[f"{number + 1} trials, {WEIGHTS} against {other}"] = compare_paired(
                    best[WEIGHTS], best[other]
                )
    print(format_table(("trials", *found), rows, left=()))
    for name, difference in comparisons.items():
        print(f"{name}: {difference}")
    return comparisons


def main(
    out: Annotated[Path, typer.Option(help="Folder of the searches and results.")] = Path("runs/search-from-weights"),
    data: Annotated[str, typer.Option(help="The images.")] = "digits",
    network: Annotated[str, typer.Option(help="The network.")] = "resnet20",
    model_option: Annotated[list[str] | None, typer.Option(metavar="OPTION=VALUE", help="Its options.")] = None,
    input_size: Annotated[str, typer.Option(help="Image size.")] = "16x16x1",
    weights: Annotated[Path | None, typer.Option(help="Its weights; without them it is trained first.")] = None,
    images: Annotated[int | None, typer.Option(min=10, help="Maximum of training, and of validation images.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of a search.")] = 8,
    epochs: Annotated[int, typer.Option(min=3, help="Epochs of a trial from scratch.")] = 6,
    pretraining: Annotated[int, typer.Option(min=1, help="Epochs of the unchanged network.")] = 18,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds: of splits, candidates and initial weights.")] = 3,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: few images, two trials, one seed.")] = False,
) -> None:
    start_backend()
    from kcnn.data import load
    from kcnn.reports import write_experiment_report

    if smoke:
        images, trials, epochs, pretraining, seeds = 100, 2, 3, 1, 1
    options = parse_assignments(model_option, "--model-option") or ({"units": 1} if network == "resnet20" else {})
    spec = kcnn.ModelSpec(network=network, input_shape=parse_input_size(input_size, network), options=options)
    found: dict[str, list[list[Point]]] = {SCRATCH: [], SHORT: [], WEIGHTS: []}
    before = []
    for seed in range(seeds):
        dataset = load(data, input_shape=spec.nominal_shape, batch_size=32, seed=seed).subset(
            train=images, validation=images
        )
        start, source = str(weights), None
        if weights is None:
            config = kcnn.TrainConfig(recipe="quick", epochs=pretraining, batch_size=32, seed=seed)
            clock = time.process_time()
            source = kcnn.train(spec, dataset, config, out=out / f"network-{seed}", log=lambda line: None)
            before.append((time.process_time() - clock, source.metrics["accuracy"]))
            print(f"seed {seed}: the unchanged network has {before[-1][1]:.2%} after {before[-1][0]:.0f} s", flush=True)
            start = str(source.folder)
        once = functools.partial(search_once, spec, dataset, trials)
        for name, length, arm in (
            (SCRATCH, epochs, None),
            (SHORT, epochs // SHORTER, None),
            (WEIGHTS, epochs // SHORTER, start),
        ):
            folder = out / f"seed-{seed}" / name.replace(", ", "-")
            found[name].append(once(length, arm, folder))
            print(
                f"seed {seed}, {name}: {found[name][-1][-1].best:.2%} in {found[name][-1][-1].seconds:.0f} s",
                flush=True,
            )
    comparisons = print_comparisons(found)
    if len(before) > 1:
        print(f"the unchanged network: {estimate_mean([accuracy for _, accuracy in before])}")
    results = {"points": found, "comparisons": comparisons, "unchanged": before}
    print(f"report: {write_experiment_report(out, __doc__ or '', results={'searches': results})}")


if __name__ == "__main__":
    script(main)
