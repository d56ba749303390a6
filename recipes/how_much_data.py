"""How much data? Accuracy by images per class: from scratch or fine-tuned, with and without augmentation.

    python recipes/how_much_data.py                # digits, 7 sizes, 4 protocols, 5 seeds; plot and results in runs/
    python recipes/how_much_data.py --data photos/        # your photos: head of a MobileNet v2, ImageNet weights

Digits 5 to 9, with the small network pretrained on 0 to 4 (see transfer_mobile.py): its head at the full learning rate,
all other layers at a tenth of it. Every training takes 310 steps of 16 images at every size, so that only the number of
different images varies. Measured on one CPU core in 9 min 47 s (9 min 31 s of CPU time): accuracy on 346
test images, 95% intervals over seeds 0 to 4, which also draw the images:

    images per class  from scratch             augmented                fine-tuned               augmented
                   1  66.53% (61.2 to 71.9)   72.31% (66.7 to 77.9)   66.07% (60.8 to 71.3)   70.46% (66.0 to 74.9)
                   2  80.29% (71.6 to 89.0)   82.89% (74.8 to 91.0)   79.83% (70.1 to 89.6)   83.18% (77.2 to 89.1)
                   5  88.79% (86.3 to 91.3)   93.53% (90.2 to 96.8)   89.31% (84.9 to 93.8)   93.41% (90.8 to 96.0)
                  10  92.95% (88.3 to 97.6)   96.59% (94.8 to 98.4)   93.29% (89.0 to 97.6)   95.61% (93.8 to 97.5)
                  20  95.55% (93.3 to 97.8)   97.69% (97.1 to 98.3)   95.38% (93.5 to 97.3)   97.63% (97.0 to 98.3)
                  50  97.86% (96.6 to 99.2)   98.90% (98.0 to 99.8)   97.46% (96.3 to 98.7)   98.44% (97.6 to 99.3)
                 100  98.27% (97.2 to 99.3)   99.08% (98.2 to 100)    98.03% (96.8 to 99.2)   98.84% (98.2 to 99.5)

Paired over seeds, transfer learning has no significant benefit at any size (20 images per class: -0.17 points, -0.92 to
+0.57; with augmentation it is worse at 10, -0.98, -1.77 to -0.20): training soon recovers what five digits taught 5,056
weights. transfer_mobile.py measures 2 points, where its learning rate from scratch is a quarter of this one.
Augmentation from scratch adds 2.60 points (0.29 to 4.91) at 2 images per class, 4.74 (1.08 to 8.40) at 5, 2.14 (0.01 to
4.27) at 20 and 1.04 (0.10 to 1.98) at 50, and is not significant at 1, 10 and 100; fine-tuned it is significant at 5,
20 and 50. Of 28 comparisons at 95% one or two may be by chance.

The features that a large network learned from a million photos are a different matter. Ants and bees, MobileNet v1 of
width 0.25 with its published ImageNet weights, only a new head trained, 60 steps, 153 test images, seeds 0 to 2, 6 min:

    python recipes/how_much_data.py --data hymenoptera/ --network mobilenet_v1 --model-option width=0.25 \\
        --weights mobilenet_2_5_224_tf_no_top.h5 --size 5 --size 20 --size 100 --seeds 3 --epochs 5

    images per class  from scratch             augmented                fine-tuned               augmented
                   5  45.75%                   45.75%                   77.56% (68.6 to 86.5)   76.91% (62.2 to 91.6)
                  20  45.75%                   45.75%                   81.05% (72.0 to 90.1)   82.57% (74.6 to 90.6)
                 100  48.58% (36.4 to 60.8)   45.75%                   85.84% (84.9 to 86.8)   85.62% (82.8 to 88.4)

45.75% is one class for every photo: from scratch, 60 steps are too few. Transfer learning adds 31 to 40 points,
significant at each size; augmentation has no significant benefit (fine-tuned at 20 per class: +1.53, -2.56 to +5.61).
"""

import dataclasses
import functools
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
from kcnn.graph.formatting import format_table
from kcnn.statistics import PairedDifference, compare_paired, estimate_mean

SIZES = (1, 2, 5, 10, 20, 50, 100)  # training images per class
AUGMENTATION = Augmentation(shift=0.1, rotate=15, zoom=0.1)  # photos are flipped, too
RATE = 4e-3  # of five, the best mean of accuracies at 5 and 100 images per class, over seeds 10 to 12
LR_MULTIPLIERS = {"conv*": 0.1}  # of pretrained layers; 0.3 and 0.03 gave the same at 2 and 20 images per class
SCRATCH, TUNED = "from scratch", "fine-tuned"
PROTOCOLS = {
    (start, augmented): f"{start}, augmented" if augmented else start
    for start in (SCRATCH, TUNED)
    for augmented in (False, True)
}
PAIRS = (  # compared at each size
    ((TUNED, False), (SCRATCH, False)),
    ((TUNED, True), (SCRATCH, True)),
    ((SCRATCH, True), (SCRATCH, False)),
    ((TUNED, True), (TUNED, False)),
)
Accuracies = dict[int, dict[tuple[str, bool], Any]]  # by size and protocol: those of the seeds
Differences = dict[str, dict[int, PairedDifference]]  # by pair and size


def limit_images(dataset: Any, per_class: int, most: int) -> Any:
    """Return the data with fewer training images, repeated to the number of `most` per class.

    A training then has the same number of steps at every size.
    """
    small = dataset.subset(train=per_class * len(dataset.classes))
    split = small.splits["train"]
    repeated = split.take(np.resize(np.arange(len(split)), most * len(dataset.classes)))
    name = f"{dataset.name.removesuffix(f', {most} images per class')}, {per_class} images per class"
    return dataclasses.replace(small, name=name, splits={**small.splits, "train": repeated})


def compare_sizes(accuracies: Accuracies) -> Differences:
    return {
        f"{PROTOCOLS[one]} vs. {PROTOCOLS[other]}": {
            size: compare_paired(values[one], values[other]) for size, values in accuracies.items()
        }
        for one, other in PAIRS
    }


def plot_sizes(accuracies: Accuracies, differences: Differences) -> Figure:
    """Plot accuracy by images per class on the left, and differences of protocols on the right."""
    from kcnn.plots.figures import STYLE, draw_band

    sizes = list(accuracies)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (start, augmented), name in PROTOCOLS.items():
            values = np.transpose([accuracies[size][start, augmented] for size in sizes])
            color, line = "C0" if start == SCRATCH else "C1", "o--" if augmented else "o-"
            draw_band(left, sizes, values, name, color=color, line=line)
        left.set(ylabel="test accuracy, 95% interval")
        left.yaxis.set_major_formatter("{x:.0%}")
        for number, (name, by_size) in enumerate(differences.items()):
            color, shift = f"C{number + 2}", 1 + 0.05 * (number - 1.5)  # side by side
            right.plot([], [], "o-", color=color, label=name)
            for size, one in by_size.items():
                right.plot([size * shift] * 2, [one.low, one.high], color=color, linewidth=1.5)
                fill = color if one.significant else "white"
                right.plot(size * shift, one.points, "o", color=color, markerfacecolor=fill)
        right.axhline(0, color="black", linewidth=0.8)
        right.set(ylabel="points of accuracy, 95% interval (hollow: not significant)")
        for axes in (left, right):
            axes.set(xscale="log", xlabel="training images per class")
            axes.set_xticks(sizes, sizes)
            axes.minorticks_off()
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13))  # below the curves
    return figure


def main(
    out: Annotated[Path, typer.Option(help="Folder of runs, results and plot.")] = Path("runs/how-much-data"),
    data: Annotated[str | None, typer.Option(help="A folder of class folders; by default digits 5 to 9.")] = None,
    network: Annotated[str, typer.Option(help="Network for --data.")] = "mobilenet_v2",
    weights: Annotated[
        str, typer.Option(help='Pretrained weights of the network: "imagenet" (downloaded), or a file.')
    ] = "imagenet",
    model_option: Annotated[
        list[str] | None, typer.Option("--model-option", help="OPTION=VALUE of the network: width=0.25.")
    ] = None,
    size: Annotated[list[int] | None, typer.Option(min=1, help="Images per class; 1, 2, 5, 10 ... 100.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds, of images and initial weights.")] = 5,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 10,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: one size, two seeds, one epoch.")] = False,
) -> None:
    start_backend()
    from kcnn.data import load
    from kcnn.fine_tuning import Protocol, compare_protocols
    from kcnn.fine_tuning.demo import NETWORK, load_demo_data
    from kcnn.reports import write_experiment_report
    from kcnn.training import TrainConfig, TrainingPhase, get_recipe

    sizes: Any = sorted(size or SIZES)
    if smoke:
        sizes, seeds, epochs = [5], 2, 1
    spec = kcnn.ModelSpec(network=network, options=parse_assignments(model_option, "--model-option"))
    phase, rate = TrainingPhase(epochs, "head", 1e-2), 1e-3
    if data is None:
        spec, weights, phase, rate = NETWORK, "demo", TrainingPhase(epochs, "all", RATE, LR_MULTIPLIERS), RATE
    augmentations = {False: Augmentation(), True: dataclasses.replace(AUGMENTATION, flip=data is not None)}

    @functools.cache
    def load_all(seed: int) -> Any:
        if data is None:
            return load_demo_data(seed, max(sizes))
        shape: Any = spec.architecture.input_shape
        return load(data, input_shape=shape, seed=seed)

    def load_size(per_class: int, seed: int) -> Any:
        return limit_images(load_all(seed), per_class, max(sizes))

    smallest = np.bincount(load_all(0).splits["train"].labels).min()
    sizes = [per_class for per_class in sizes if per_class <= smallest]
    if not sizes:
        raise typer.BadParameter(f"the smallest class of {data} has only {smallest} training images")
    accuracies: Accuracies = {per_class: {} for per_class in sizes}
    for per_class in sizes:
        for augmented, augmentation in augmentations.items():
            recipe = get_recipe(
                "quick", {"batch_size": 16, "epochs": epochs, "learning_rate": rate, "augmentation": augmentation}
            )
            comparison = compare_protocols(
                spec,
                functools.partial(load_size, per_class),
                (
                    Protocol(name=SCRATCH, config=TrainConfig(recipe=recipe)),
                    Protocol(name=TUNED, config=TrainConfig(recipe=recipe, phase=phase), weights=weights),
                ),
                out=out / f"{per_class}-per-class" / ("augmented" if augmented else "not-augmented"),
                seeds=range(seeds),
                log=lambda text: None,
            )
            for result in comparison.results:
                accuracies[per_class][result.protocol, augmented] = result.accuracies
                name = PROTOCOLS[result.protocol, augmented]
                print(f"{per_class} images per class, {name}: {result.accuracy:.2%}", flush=True)
    rows = [
        (str(per_class), *(str(estimate_mean(values[protocol])) for protocol in PROTOCOLS))
        for per_class, values in accuracies.items()
    ]
    print("", format_table(("images per class", *PROTOCOLS.values()), rows, PROTOCOLS.values()), sep="\n")
    differences = compare_sizes(accuracies)
    for pair, by_size in differences.items():
        print(f"\n{pair}:")
        for per_class, difference in by_size.items():
            print(f"{per_class:>5} images per class: {difference}")
    by_name = {
        str(per_class): {PROTOCOLS[protocol]: accuracy for protocol, accuracy in values.items()}
        for per_class, values in accuracies.items()
    }
    report = write_experiment_report(
        out,
        __doc__,
        results={"data": {"accuracy": by_name, "differences": differences}},
        figures={"data": plot_sizes(accuracies, differences)},
    )
    print(f"report: {report}")


if __name__ == "__main__":
    script(main)
