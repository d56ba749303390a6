"""How much data? Accuracy against the pictures to learn from: from scratch or transferred, augmented or not.

    python recipes/how_much_data.py                # digits, 7 sizes, 4 ways, 5 seeds; a picture and numbers in runs/
    python recipes/how_much_data.py --data photos/                   # yours: the head of a MobileNet v2, from ImageNet

Digits 5 to 9, with the small network that learned 0 to 4 (see transfer_mobile.py): its head at the full rate, the rest
at a tenth of it. Every training takes 310 steps of 16 pictures, however few there are, so that size alone differs.
Measured on 2 CPU cores, which did other work as well, in 7 min 50 s (6 min 10 s of CPU time): accuracy on 346 test
pictures, 95 % intervals over seeds 0 to 4, which draw the pictures too:

    of each class  from scratch             augmented                transferred              augmented
                1  66.53 % (61.2 to 71.9)   70.75 % (66.4 to 75.1)   66.07 % (60.8 to 71.3)   71.04 % (65.9 to 76.2)
                2  80.29 % (71.6 to 89.0)   83.99 % (75.6 to 92.4)   79.83 % (70.1 to 89.6)   84.10 % (76.8 to 91.4)
                5  88.90 % (86.4 to 91.4)   93.41 % (91.2 to 95.6)   89.31 % (84.9 to 93.7)   92.43 % (89.7 to 95.1)
               10  92.95 % (88.3 to 97.6)   96.18 % (94.1 to 98.3)   93.29 % (89.0 to 97.6)   96.13 % (94.3 to 97.9)
               20  95.55 % (93.3 to 97.8)   97.63 % (96.8 to 98.4)   95.38 % (93.5 to 97.3)   97.57 % (96.5 to 98.7)
               50  97.86 % (96.6 to 99.1)   99.19 % (98.6 to 99.8)   97.46 % (96.3 to 98.7)   98.50 % (97.6 to 99.4)
              100  98.27 % (97.2 to 99.3)   99.02 % (98.4 to 99.6)   98.32 % (97.7 to 99.0)   98.79 % (98.1 to 99.4)

Paired over seeds, that transfer is worth anything is not shown at any size (with 20 of each -0.17 points, -0.92 to
+0.57): what five digits taught 5,056 weights seems soon learned anew. Nor is it in 60 steps (`--size 20`: +0.21, -0.50
to +0.93), where transfer_mobile.py has 2 points: its rate from scratch is a quarter of this one. Augmentation from
scratch is worth 3.70 points (0.66 to 6.74) at 2 of each, 4.51 (1.71 to 7.31) at 5, 2.08 (0.51 to 3.65) at 20 and 1.33
(0.54 to 2.12) at 50, not shown at 1, 10 and 100; transferred it is shown at 20 and 100 alone. Of 28 comparisons at 95 %
one or two may be by chance.

What a large network learned on a million photos is another thing. Ants and bees, MobileNet v1 of width 0.25 with its
published ImageNet weights, a new head alone trained, 60 steps, 153 test photos, seeds 0 to 2, 6 min:

    python recipes/how_much_data.py --data hymenoptera/ --network mobilenet_v1 --model-option width=0.25 \\
        --weights mobilenet_2_5_224_tf_no_top.h5 --size 5 --size 20 --size 100 --seeds 3 --epochs 5

    of each class  from scratch             augmented                transferred              augmented
                5  51.85 % (30.7 to 73.0)   52.94 % (39.7 to 66.2)   76.69 % (65.6 to 87.7)   76.91 % (61.0 to 92.8)
               20  54.90 % (38.4 to 71.4)   55.77 % (47.6 to 63.9)   81.05 % (72.0 to 90.1)   82.79 % (76.6 to 88.9)
              100  53.59 % (46.2 to 61.0)   56.86 % (48.3 to 65.5)   86.27 % (84.7 to 87.9)   86.06 % (81.4 to 90.7)

Transfer is worth 24 to 33 points, shown at each size but 5 of each without augmentation (+24.84, -5.58 to +55.26; with
it +23.97, +1.16 to +46.77); augmentation is not shown to be worth anything. From scratch is hardly better than a
guess.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure

import kcnn
from kcnn.augment import Augmentation
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.cli.console import parse_assignments
from kcnn.statistics import t_interval

SIZES = (1, 2, 5, 10, 20, 50, 100)  # pictures of each class to learn from
AUGMENTED = Augmentation(shift=0.1, rotate=15, zoom=0.1)  # photos are mirrored too
RATE = 4e-3  # of five, the best mean of accuracies at 5 and 100 pictures of each class, over seeds 10 to 12
SLOWER = {"conv*": 0.1}  # of the rate, what was learned before; 0.3 and 0.03 did alike at 2 and 20 pictures
SCRATCH, TRANSFERRED = "from scratch", "transferred"
WAYS = [(way, augmented) for way in (SCRATCH, TRANSFERRED) for augmented in ("plain", "augmented")]
PAIRS = (  # asked at each size
    ((TRANSFERRED, "plain"), (SCRATCH, "plain")),
    ((TRANSFERRED, "augmented"), (SCRATCH, "augmented")),
    ((SCRATCH, "augmented"), (SCRATCH, "plain")),
    ((TRANSFERRED, "augmented"), (TRANSFERRED, "plain")),
)


def some(whole: Any, each: int, most: int) -> Any:
    """Data with so many pictures of each class to learn from, shown so often that an epoch has those of `most`.

    So a training takes as many steps whatever the size, and only what it sees differs.
    """
    few = whole.subset(train=each * len(whole.classes))
    split = few.splits["train"]
    again = split.take(np.resize(np.arange(len(split)), most * len(whole.classes)))
    name = f"{whole.name.removesuffix(f', {most} of each')}, {each} of each"
    return dataclasses.replace(few, name=name, splits={**few.splits, "train": again})


def differences(accuracy: dict[int, dict[tuple[str, str], Any]]) -> list[dict[str, Any]]:
    """Points of accuracy between ways at each size, paired over seeds; shown where the interval leaves out 0."""
    found = []
    for ours, theirs in PAIRS:
        for each, values in accuracy.items():
            points = 100 * (np.array(values[ours]) - np.array(values[theirs]))
            low, high = t_interval(points)
            shown = low > 0 or high < 0
            told = {"of": ", ".join(ours), "against": ", ".join(theirs), "pictures": each}
            found.append({**told, "points": float(points.mean()), "low": low, "high": high, "shown": shown})
    return found


def drawn(accuracy: dict[int, dict[tuple[str, str], Any]], found: list[dict[str, Any]]) -> Figure:
    """Accuracy against pictures on the left; on the right what transfer and augmentation are worth."""
    from kcnn.plots.figures import STYLE

    sizes = list(accuracy)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for way, augmented in WAYS:
            values = np.array([accuracy[each][way, augmented] for each in sizes])
            low, high = np.transpose([t_interval(row) for row in values])
            color, line = "C0" if way == SCRATCH else "C1", "--" if augmented == "augmented" else "-"
            left.plot(
                sizes, values.mean(axis=1), line, marker="o", markersize=4, color=color, label=f"{way}, {augmented}"
            )
            left.fill_between(sizes, low.clip(0), high.clip(None, 1), color=color, alpha=0.15, linewidth=0)
        left.set(ylabel="test accuracy, 95% interval")
        left.yaxis.set_major_formatter("{x:.0%}")
        for number, (ours, theirs) in enumerate(PAIRS):
            words = ", ".join(ours), ", ".join(theirs)
            color, shift = f"C{number + 2}", 1 + 0.05 * (number - 1.5)  # beside each other
            right.plot([], [], "o-", color=color, label=f"{words[0]}, against {words[1]}")
            for one in (one for one in found if (one["of"], one["against"]) == words):
                at = one["pictures"] * shift
                right.plot([at, at], [one["low"], one["high"]], color=color, linewidth=1.5)
                right.plot(at, one["points"], "o", color=color, markerfacecolor=color if one["shown"] else "white")
        right.axhline(0, color="black", linewidth=0.8)
        right.set(ylabel="points of accuracy, 95% interval (hollow: not shown)")
        for axes in (left, right):
            axes.set(xscale="log", xlabel="pictures of each class to learn from")
            axes.set_xticks(sizes, sizes)
            axes.minorticks_off()
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13))  # below, beside no curve
    return figure


def mean(values: Any) -> str:
    low, high = t_interval(values)
    return f"{np.mean(values):.2%} ({100 * low:.1f} to {100 * high:.1f})"


def said(found: list[dict[str, Any]], ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    """Where one way is better than another, where worse, and where that is not shown."""
    mine = [one for one in found if (one["of"], one["against"]) == (", ".join(ours), ", ".join(theirs))]
    cases = {
        "better": [one for one in mine if one["shown"] and one["points"] > 0],
        "worse": [one for one in mine if one["shown"] and one["points"] < 0],
        "not shown": [one for one in mine if not one["shown"]],
    }
    told = [
        f"{word} at "
        + ", ".join(
            f"{one['pictures']} ({one['points']:+.2f}: {one['low']:+.2f} to {one['high']:+.2f})" for one in some
        )
        for word, some in cases.items()
        if some
    ]
    return f"{', '.join(ours)} against {', '.join(theirs)}, points: {'; '.join(told)}"


def main(
    out: Annotated[Path, typer.Option(help="Folder of runs, numbers and picture.")] = Path("runs/how-much-data"),
    data: Annotated[str | None, typer.Option(help="A folder of class folders; digits 5 to 9 without it.")] = None,
    network: Annotated[str, typer.Option(help="For data of yours.")] = "mobilenet_v2",
    weights: Annotated[
        str, typer.Option(help='Of that network: "imagenet", which is downloaded, or a file.')
    ] = "imagenet",
    model_option: Annotated[
        list[str] | None, typer.Option("--model-option", help="Options of that network: width=0.25.")
    ] = None,
    size: Annotated[list[int] | None, typer.Option(min=1, help="Pictures of each class; 1, 2, 5, 10 ... 100.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How many; each draws its own pictures and initial weights.")] = 5,
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 10,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: one size, two seeds, one epoch.")] = False,
) -> None:
    start_backend()
    from kcnn.atomic_io import write_text
    from kcnn.data import load
    from kcnn.fine_tuning import Protocol, compare_protocols
    from kcnn.fine_tuning.demo import NETWORK, load_demo_data
    from kcnn.plots.figures import save_figure
    from kcnn.reports import write_experiment_report
    from kcnn.training import TrainConfig, TrainingPhase, get_recipe

    sizes: Any = sorted(size or SIZES)
    if smoke:
        sizes, seeds, epochs = [5], 2, 1
    spec = kcnn.ModelSpec(network=network, options=parse_assignments(model_option, "--model-option"))
    phase, rate = TrainingPhase(epochs, "head", 1e-2), 1e-3
    if data is None:
        spec, weights, phase, rate = NETWORK, "demo", TrainingPhase(epochs, "all", RATE, SLOWER), RATE

    augmentations = {"plain": Augmentation(), "augmented": dataclasses.replace(AUGMENTED, flip=data is not None)}

    @functools.cache
    def whole(seed: int) -> Any:
        if data is None:
            return load_demo_data(seed, max(sizes))
        shape: Any = spec.architecture.input_shape
        return load(data, input_shape=shape, seed=seed)

    def served(each: int, seed: int) -> Any:
        return some(whole(seed), each, max(sizes))

    least = np.bincount(whole(0).splits["train"].labels).min()
    sizes = [each for each in sizes if each <= least]
    if not sizes:
        raise typer.BadParameter(f"the smallest class of {data} has {least} pictures to learn from")
    accuracy: dict[int, dict[tuple[str, str], Any]] = {each: {} for each in sizes}
    for each in sizes:
        for augmented, augmentation in augmentations.items():
            plan = get_recipe(
                "quick", {"batch_size": 16, "epochs": epochs, "learning_rate": rate, "augmentation": augmentation}
            )
            found = compare_protocols(
                spec,
                functools.partial(served, each),
                (
                    Protocol(name=SCRATCH, config=TrainConfig(recipe=plan)),
                    Protocol(name=TRANSFERRED, config=TrainConfig(recipe=plan, phase=phase), weights=weights),
                ),
                out=out / f"{each}-of-each" / augmented,
                seeds=range(seeds),
                log=lambda text: None,
            )
            for row in found.results:
                accuracy[each][row.protocol, augmented] = row.accuracies
                print(f"{each} of each class, {row.protocol}, {augmented}: {row.accuracy:.2%}", flush=True)
    print(f"\n{'of each':>7}  " + "".join(f"{', '.join(way):<26}" for way in WAYS))
    for each, values in accuracy.items():
        print(f"{each:>7}  " + "".join(f"{mean(values[way]):<26}" for way in WAYS))
    pairs = differences(accuracy)
    for ours, theirs in PAIRS:
        print(said(pairs, ours, theirs))
    told = {str(each): {", ".join(way): one for way, one in values.items()} for each, values in accuracy.items()}
    write_text(out / "data.json", json.dumps({"accuracy": told, "differences": pairs}, indent=1))
    save_figure(drawn(accuracy, pairs), out / "data.png")
    print(f"to look at: {write_experiment_report(out, __doc__)}")


if __name__ == "__main__":
    script(main)
