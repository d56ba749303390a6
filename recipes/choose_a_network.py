"""Does a linear probe rank pretrained networks as full fine-tuning does? Spearman's rank correlation of the two.

    python recipes/choose_a_network.py                 # offline: pretrained on digits 0-4, fine-tuned on digits 5-9
    python recipes/choose_a_network.py --data photos/ --pretrain more_photos/ --weights mobilenet_v2=imagenet

Nine networks: seven small ones, pretrained here on 5,000 images of the CIFAR-10 classes airplane to deer, and MobileNet
v1 of width 0.25 with its ImageNet weights on images of 64 and of 128 pixels. Each is ranked by `kcnn choose` and then
fine-tuned: its head for 20 epochs, all layers for 10 more at a learning rate of 3e-4, on at most 500 training images.

    python recipes/choose_a_network.py --pretrain cifar_a/ --input-size 64 --input-size 128 --data cifar_b/ --seeds 1 \\
        --weights mobilenet_v1,width=0.25=mobilenet_2_5_224_tf_no_top.h5

                                 CIFAR-10, dog to truck     ants and bees (--data hymenoptera/ --seeds 2)
                                  probe     fine-tuned          probe     fine-tuned
    mobilenet_v1, 128 pixels     86.80%         84.70%         82.86%         80.39%
    mobilenet_v1, 64 pixels      80.80%         80.80%         70.20%         74.18%
    stack, 10 epochs             70.60%         64.80%         68.16%         66.01%
    convnet, 10 epochs           68.60%         67.00%         68.16%         55.23%
    resnet20, 10 epochs          63.60%         61.60%         72.24%         71.24%
    convnet, 1 epoch             62.60%         62.80%         66.12%         56.21%
    resnet20, 1 epoch            59.60%         60.30%         60.82%         72.22%
    lenet5, 10 epochs            56.00%         50.80%         62.86%         53.27%
    plain20, 10 epochs           55.40%         61.20%         63.27%         67.32%

    rho (95% interval)           0.92 (0.63 to 0.98)           0.49 (-0.29 to 0.87)
    p, by permutations           0.0013                        0.19, not significant
    rho of the seven             0.82 (0.15 to 0.97)           -0.04 (-0.78 to 0.75)
    p, by permutations           0.034                         0.95, not significant

On both, the first of the probe is the first of fine-tuning. Behind it the order is confirmed on CIFAR-10 only, whose
other classes the seven were pretrained on. On photos of ants and bees it is not: there resnet20 and plain20 gain by
fine-tuning what a probe does not show, and networks of two convolutions lose. With nine networks the intervals are
wide. CIFAR-10 has 500 validation images for the probe and 1,000 test images (a standard error of up to 1.6 points),
ants and bees five folds of 245 images and 153 test images (4 points). Probes and fine-tuning take 5 to 6 min of CPU
time for each data set.
"""

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure

import kcnn
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.cli.choose import parse_candidate
from kcnn.graph.formatting import format_number, format_table

if TYPE_CHECKING:
    from kcnn.fine_tuning import Choice, ProbeResult

PRETRAINED = (  # network and epochs: the same for one epoch and for ten, so that worse weights are among them
    ("lenet5", 10),
    ("convnet", 1),
    ("convnet", 10),
    ("stack", 10),
    ("plain20", 10),
    ("resnet20", 1),
    ("resnet20", 10),
)
SIDE = 32  # pixels of the images of these
RATE = 3e-4  # of all layers, after the head has trained for 20 epochs; that of transfer_mobile.py on ants and bees
FISHER = (
    1.06  # times 1 / (n - 3) is the variance of artanh(rho): Fieller, Hartley and Pearson, Biometrika 44 (1957), 470
)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation.

    Attributes:
        rho: The correlation.
        low: Lower end of its 95% interval, by Fisher's transformation: approximate, and wide with few networks.
        high: Upper end of the interval.
        p: Of no correlation, by all permutations, or 100,000 of them; two-sided.
        networks: Number of networks.
    """

    rho: float
    low: float
    high: float
    p: float
    networks: int

    def __str__(self) -> str:
        return (
            f"Spearman's rho of {self.networks} networks {self.rho:.2f} (95% interval {self.low:.2f} to "
            f"{self.high:.2f}), p = {self.p:.2g} by permutations"
        )


def correlate_ranks(one: list[float], other: list[float]) -> RankCorrelation:
    """Return Spearman's rank correlation of two lists of at least four accuracies."""
    from scipy.stats import permutation_test, spearmanr

    rho = float(spearmanr(one, other).statistic)
    test = permutation_test(
        (one,), lambda x: spearmanr(x, other).statistic, permutation_type="pairings", n_resamples=100_000, rng=0
    )
    center = math.atanh(min(max(rho, -1 + 1e-9), 1 - 1e-9))
    half = 1.96 * math.sqrt(FISHER / (len(one) - 3))
    return RankCorrelation(rho, math.tanh(center - half), math.tanh(center + half), float(test.pvalue), len(one))


def pretrain(data: Any, epochs: int, network: str, out: Path) -> kcnn.ModelSpec:
    """Train a network, and return its spec with these weights."""
    from kcnn.training import TrainConfig, train

    spec = kcnn.ModelSpec(network=network, input_shape=data.input_shape)
    folder = out / f"{network}-{epochs}-epochs"
    result = train(spec, data, TrainConfig(recipe="quick", epochs=epochs), out=folder, verbose=0, log=lambda text: None)
    print(f"{network}, {format_number(epochs, 'epoch')} of pretraining: {result.metrics['accuracy']:.2%}", flush=True)
    return replace(spec, weights=str(folder))


def fine_tune(result: "ProbeResult", load_data: Any, epochs: int, seeds: int, out: Path) -> tuple[float, ...]:
    """Train the head, then all layers; return the test accuracy of each seed."""
    from kcnn.fine_tuning import compare_protocols, default_protocols
    from kcnn.training import TrainConfig, TrainingPhase

    everything = TrainConfig(recipe="quick", phase=TrainingPhase(epochs, "all", RATE))
    comparison = compare_protocols(
        replace(result.spec, weights=None),
        functools.partial(load_data, result.spec.nominal_shape),
        default_protocols(result.spec.weights, fine=everything),
        out=out,
        seeds=range(seeds),
        log=lambda text: None,
    )
    return comparison.results[-1].accuracies


def plot_accuracies(choice: "Choice", tuned: list[float], correlation: RankCorrelation) -> Figure:
    """Plot the accuracy of fine-tuning over that of the probe, a point for each network."""
    from kcnn.plots.figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.subplots()
        for result, accuracy in zip(choice.results, tuned, strict=True):
            axes.errorbar(
                result.accuracy,
                accuracy,
                xerr=[[result.accuracy - result.low], [result.high - result.accuracy]],
                fmt="o",
                label=name_candidate(result),
            )
        axes.set(xlabel="accuracy of the probe, 95% interval", ylabel="test accuracy, fine-tuned")
        axes.set_title(str(correlation), fontsize="small")
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.legend(frameon=False, fontsize="small")
    return figure


def name_candidate(result: "ProbeResult") -> str:
    """Return the network with its image size and its weights."""
    return f"{result.title} {result.spec.nominal_shape[0]}, {Path(str(result.spec.weights)).name}"


def main(
    out: Annotated[Path, typer.Option(help="Folder of runs, results and plot.")] = Path("runs/choose-a-network"),
    data: Annotated[str, typer.Option(help="Images to choose for.")] = "digits:5-9",
    pretrain_on: Annotated[str, typer.Option("--pretrain", help="Images to pretrain on.")] = "digits:0-4",
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK=FILE", help="Further networks, as of kcnn choose.")
    ] = None,
    input_size: Annotated[list[str] | None, typer.Option(help="Image sizes of these.")] = None,
    images: Annotated[
        int,
        typer.Option(min=10, help="Maximum number of training images, of validation images, and half of test images."),
    ] = 500,
    pretrain_images: Annotated[int, typer.Option(min=10, help="Maximum number of images to pretrain on.")] = 5000,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of fine-tuning.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of fine-tuning.")] = 2,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: four networks, one epoch, one seed.")] = False,
) -> None:
    start_backend()
    from kcnn.data import load
    from kcnn.fine_tuning import choose
    from kcnn.reports import write_experiment_report

    networks = [(name, 1) for name in ("lenet5", "convnet", "stack")] if smoke else PRETRAINED
    if smoke:
        images, pretrain_images, epochs, seeds = 100, 200, 1, 1
    channels = 1 if data.startswith("digits") else 3

    def load_some(shape: Any, seed: int) -> Any:
        dataset = load(data, input_shape=shape, batch_size=16, seed=seed)
        return dataset.subset(train=images, validation=images, test=2 * images)

    source = load(pretrain_on, input_shape=(SIDE, SIDE, channels)).subset(train=pretrain_images)
    specs = [pretrain(source, number, name, out / "pretrained") for name, number in networks]
    specs += [parse_candidate(text, size) for text in weights or () for size in input_size or (None,)]
    choice = choose(load_some((SIDE, SIDE, channels), 0), specs, out=out / "probe", log=lambda text: None)
    print(choice)
    by_seed = []
    for number, result in enumerate(choice.results):
        by_seed.append(fine_tune(result, load_some, epochs, seeds, out / f"network-{number}"))
        print(f"{name_candidate(result)}: {np.mean(by_seed[-1]):.2%} fine-tuned", flush=True)
    tuned = [float(np.mean(accuracies)) for accuracies in by_seed]
    correlation = correlate_ranks([result.accuracy for result in choice.results], tuned)
    rows = [
        (name_candidate(result), f"{result.accuracy:.2%}", f"{accuracy:.2%}")
        for result, accuracy in zip(choice.results, tuned, strict=True)
    ]
    print("", format_table(("network", "probe", "fine-tuned"), rows, ("network",)), "", correlation, sep="\n")
    results = {"correlation": correlation, "networks": {row[0]: row[1:] for row in rows}, "seeds": by_seed}
    figures = {"accuracies": plot_accuracies(choice, tuned, correlation)}
    report = write_experiment_report(out, __doc__, results={"correlation": results}, figures=figures)
    print(f"report: {report}")


if __name__ == "__main__":
    script(main)
