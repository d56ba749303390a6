"""Deeper is not better, unless there are shortcuts: plain networks of 20 and 56 layers, and residual ones.

    python recipes/deeper_is_not_better.py cifar/            # a folder train/CLASS/*, test/CLASS/*
    python recipes/deeper_is_not_better.py tfds:cifar10
    KERAS_BACKEND=jax python recipes/deeper_is_not_better.py cifar.npz --full --out runs/deeper-full

Shortened for a CPU: 10,000 images of CIFAR-10 at 16x16 pixels without augmentation, and 15 epochs instead of 182, in
batches of 64 with a proportional learning rate of 0.05, after warmup in the first tenth. Measured with JPEG copies of
the images, in 40 min on 2 CPU cores, beside other work, 40 min of processor time. Error on the training images, of the
trained network in evaluation mode, and on 10,000 test images; mean and 95% interval over seeds 0 to 2, each with its
own 10,000 training images:

    network   training error               test error
    plain20   23.87% (16.54 to 31.20)     44.68% (43.91 to 45.45)
    plain56   67.95% (65.59 to 70.31)     68.31% (67.33 to 69.28)
    resnet20   1.33% (0.85 to 1.82)       43.23% (40.07 to 46.38)
    resnet56   0.71% (0.29 to 1.13)       45.55% (44.37 to 46.74)

The claims (arXiv:1512.03385, sections 1 and 4.2), in points, paired over seeds:

                                        training error                           test error
    plain: 56 layers worse than 20      +44.1 (+39.0 to +49.2)                   +23.6 (+22.9 to +24.3)
    residual: 56 better than 20          +0.6 (-0.3 to +1.5), not significant     -2.3 (-5.0 to +0.3), not significant
    56 layers: better with shortcuts    +67.2 (+64.5 to +70.0)                   +22.8 (+22.5 to +23.0)
    20 layers: better with shortcuts    +22.5 (+15.7 to +29.4)                    +1.5 (-1.0 to +3.9), not significant
    depth costs more without shortcuts  +44.7 (+40.5 to +48.9)                   +21.3 (+19.1 to +23.5)

This was measured with the weights of the last epoch; kcnn has since taken the last one within one standard error of the
best in validation. The 56 plain layers do not overfit: they fail to learn even the training images, by far more than in
the paper, whose training takes 27 times as many steps with twice as many images. This budget does not show how much of
it is slow convergence. That more residual layers are better is not significant: both nearly memorize these images.

A vanishing gradient is another problem, which plain56, with its batch norm, does not have: the gradient norm of its
first convolution is 10^2.7 (2.2 to 3.2) times that of the last at the first step, that is, it grows towards the input,
and 10^0.3 (-0.5 to 1.0) times at the end. recipes/vanishing_gradient.py has networks whose gradient vanishes.

--full has the paper's 182 epochs, 32x32 pixels and 45,000 images with augmentation; only its --smoke was run.
"""

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure

from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.data.splits import Split
from kcnn.graph.formatting import format_table
from kcnn.statistics import PairedDifference, compare_paired, estimate_mean, t_interval
from kcnn.training import get_recipe

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")
CONVOLUTIONS = "{stem,stage?_unit?_[ab]}"
SHORT = {"epochs": 15, "batch_size": 64, "learning_rate": 0.05, "warmup": 0.1, "flip": False, "crop": 0}
CLAIMS = (  # signs of errors; a difference above 0 confirms the claim
    ("plain: 56 layers worse than 20", {"plain56": 1, "plain20": -1}),
    ("residual: 56 better than 20", {"resnet20": 1, "resnet56": -1}),
    ("56 layers: better with shortcuts", {"plain56": 1, "resnet56": -1}),
    ("20 layers: better with shortcuts", {"plain20": 1, "resnet20": -1}),
    ("depth costs more without shortcuts", {"plain56": 1, "plain20": -1, "resnet56": -1, "resnet20": 1}),
)
MARGIN = 4  # pixels
ERRORS, STEPS = ("training error", "test error"), ("first step", "last steps")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # named as in Keras' own data sets


class AugmentedSplit(Split):
    """Training images cropped with a black margin, half of them flipped (arXiv:1512.03385, section 4.2).

    kcnn's own augmentation requires TensorFlow; this is NumPy's. The order of a batch, which changes in every epoch, is
    the seed.
    """

    def read_batch(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = super().read_batch(positions)
        rng = np.random.default_rng(positions)
        count, rows, columns, _ = pixels.shape
        padded = np.pad(pixels, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
        down, right = rng.integers(2 * MARGIN + 1, size=(2, count, 1))
        down, right = down + np.arange(rows), right + np.arange(columns)
        right = np.where(rng.integers(2, size=(count, 1)), right, right[:, ::-1])
        return padded[np.arange(count)[:, None, None], down[:, :, None], right[:, None, :]], labels


def load_images(source: str, seed: int, full: bool, smoke: bool) -> Any:
    """Return the data; each seed has its own validation images, and without `full` its own 10,000 training images."""
    from kcnn.data import load

    size = 32 if full else 16
    arrays: Any = source
    if source.endswith(".npz"):
        with np.load(source) as file:
            if missing := [name for name in ARRAYS if name not in file]:
                raise ValueError(f"{source} has no {', '.join(missing)}; expected {', '.join(ARRAYS)}")
            arrays = {split: (file[f"x_{split}"], file[f"y_{split}"]) for split in ("train", "test")}
    data = load(arrays, input_shape=(size, size, 3), seed=seed)
    if smoke:
        data = data.subset(train=128, validation=20, test=100)
    if not full:
        return data.subset(train=10_000, validation=500)
    train = data.splits["train"]
    return replace(data, splits={**data.splits, "train": AugmentedSplit(train.cache, train.indices, train.labels)})


def compute_training_error(model: Any, data: Any) -> float:
    """Return the error of the network in evaluation mode on its training images, without augmentation."""
    from kcnn.training.evidence import compute_scores

    logits, labels = compute_scores(model, replace(data, splits={**data.splits, "test": data.splits["train"]}).test)
    return float(np.mean(logits.argmax(axis=1) != labels))


def read_norms(path: Path) -> tuple[list[float], list[float]]:
    """Return the gradient norm of each convolution, from the first on, at the first and the last recorded step."""
    norms: dict[str, list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            norms.setdefault(row["step"], []).append(float(row["gradient_norm"]))
    steps = list(norms.values())
    return steps[0], steps[-1]


def compare_errors(results: dict[str, dict[str, Any]], error: str) -> dict[str, PairedDifference]:
    """Return the difference of errors of each claim, paired over seeds."""
    return {
        claim: compare_paired(sum(sign * np.array(results[name][error]) for name, sign in signs.items()), 0)
        for claim, signs in CLAIMS
    }


def compare_norms(runs: list[list[float]]) -> dict[str, Any]:
    """Return the first convolution's gradient norm by the last one's, as a power of ten; below a tenth it vanishes."""
    powers = [float(np.log10(max(norms[0], 1e-30) / max(norms[-1], 1e-30))) for norms in runs]
    low, high = t_interval(powers)
    verdict = "does not vanish" if low > -1 else "vanishes" if high < -1 else "not significant"
    return {"power": float(np.mean(powers)), "low": low, "high": high, "verdict": verdict}


def plot_results(results: dict[str, dict[str, Any]]) -> Figure:
    """Plot the error in training over epochs, with its range over seeds, and gradient norms by depth."""
    from kcnn.plots.figures import STYLE

    colors = dict(zip(NETWORKS, ("lightsalmon", "firebrick", "skyblue", "navy"), strict=True))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4), layout="constrained")
        curves, *depths = figure.subplots(1, 3, width_ratios=(3, 2, 2))
        for name, result in results.items():
            running = 100 * np.array(result["running"])
            epochs = np.arange(1, running.shape[1] + 1)
            curves.plot(epochs, running.mean(axis=0), color=colors[name], label=name)
            curves.fill_between(epochs, running.min(axis=0), running.max(axis=0), color=colors[name], alpha=0.2)
            for axes, step in zip(depths, STEPS, strict=True):
                median = np.median(result[step], axis=0)
                axes.semilogy(np.linspace(0, 1, len(median)), median, color=colors[name])
                axes.set_title(step)
        curves.set(xlabel="epoch", ylabel="error in training, %", title="mean, minimum and maximum of the seeds")
        curves.legend(frameon=False)
        for axes in depths:
            axes.set(xlabel="depth: first convolution to last", ylabel="gradient norm")
    return figure


def main(
    data: Annotated[
        str | None, typer.Argument(help='Folder of CIFAR-10, its arrays as .npz, or "tfds:cifar10".')
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs, results and plot.")] = Path("runs/deeper"),
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds, of images and initial weights.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="15 by default, 182 with --full.")] = None,
    full: Annotated[bool, typer.Option("--full", help="The paper's schedule and images, for a GPU.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two seeds, one epoch of 128 images, digits by default, few layers.")
    ] = False,
) -> None:
    start, cpu_start = time.perf_counter(), time.process_time()
    start_backend()
    import kcnn
    from kcnn import ModelSpec
    from kcnn.explain import TrainingStatistics
    from kcnn.reports import write_experiment_report
    from kcnn.training import TrainConfig, measure_variants, name_run_folder, train

    source = data or ("digits" if smoke else "tfds:cifar10")
    seeds, epochs = (2, 1) if smoke else (seeds, epochs)
    recipe = get_recipe("paper", {"flip": False, "crop": 0} if full else SHORT)  # see AugmentedSplit
    recipe = replace(recipe, epochs=epochs or recipe.epochs)

    def measure(name: str, dataset: Any, seed: int) -> dict[str, Any]:
        sample = np.linspace(0, len(dataset.splits["train"]) - 1, 128).astype("int64")  # of all classes
        folder = name_run_folder(out, seed, name)
        statistics = TrainingStatistics(
            *dataset.splits["train"].read_batch(sample),
            path=folder / "gradients.csv",
            every=max(1, recipe.epochs * dataset.steps // 8),
            layers=CONVOLUTIONS,
        )
        spec = ModelSpec(network=name, options={"units": 1 if name.endswith("20") else 2} if smoke else {})
        config = TrainConfig(recipe=recipe, seed=seed, precision="float32")  # "auto" can differ between the networks
        run = train(spec, dataset, config, out=folder, callbacks=[statistics], verbose=0)
        return {
            "training error": compute_training_error(kcnn.load_model(folder / "model.keras"), dataset),
            "test error": 1 - run.metrics["accuracy"],
            "running": [1 - row["accuracy"] for row in run.history],
            **dict(zip(STEPS, read_norms(folder / "gradients.csv"), strict=True)),
        }

    runs = measure_variants(
        NETWORKS,
        range(seeds),
        lambda seed: replace(load_images(source, seed, full, smoke), batch_size=recipe.batch_size),
        measure,
        describe=lambda result: ", ".join(f"{error} {result[error]:.2%}" for error in ERRORS),
    )
    results = {name: {key: [run[key] for run in row] for key in row[0]} for name, row in runs.items()}
    rows = [(name, *(str(estimate_mean(result[error])) for error in ERRORS)) for name, result in results.items()]
    print("", format_table(("network", *ERRORS), rows, ("network", *ERRORS)), sep="\n")
    differences = {error: compare_errors(results, error) for error in ERRORS}
    for error, claims in differences.items():
        print()
        for claim, difference in claims.items():
            print(f"{claim}, {error}: {difference}")
    print("\nGradient norm of the first convolution divided by that of the last, as a power of ten:")
    gradients = {name: {step: compare_norms(result[step]) for step in STEPS} for name, result in results.items()}
    for name, steps in gradients.items():
        for step, row in steps.items():
            interval = f"{row['power']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
            print(f"{name:<10}{step}: {interval}: {row['verdict']}")
    report = write_experiment_report(
        out,
        __doc__,
        results={"deeper": {"networks": results, "differences": differences, "gradients": gradients}},
        figures={"deeper": plot_results(results)},
    )
    minutes = (time.perf_counter() - start) / 60, (time.process_time() - cpu_start) / 60
    print(f"\nreport: {report}; {minutes[0]:.0f} min, {minutes[1]:.0f} min of processor time")


if __name__ == "__main__":
    script(main)
