"""Deeper is not better, unless there are shortcuts: plain networks of 20 and 56 layers, and residual ones.

    python recipes/deeper_is_not_better.py cifar/            # a folder train/CLASS/*, test/CLASS/*
    python recipes/deeper_is_not_better.py tfds:cifar10
    KERAS_BACKEND=jax python recipes/deeper_is_not_better.py cifar.npz --full --out runs/deeper-full

Shortened for a CPU: 10,000 pictures of CIFAR-10 at 16x16 pixels, not moved or mirrored, and 15 epochs instead of 182,
in batches of 64 at the paper's rate for these, 0.05, which rises over the first tenth. Measured with JPEG copies of
the pictures, in 40 min on 2 CPU cores that did other work as well, 40 min of processor time. Error on the pictures
learned from, by the trained network in evaluation, and on 10,000 test pictures; mean and 95 % interval over seeds 0 to
2, each with its own 10,000:

                 training error               test error
    plain20      23.87 % (16.54 to 31.20)     44.68 % (43.91 to 45.45)
    plain56      67.95 % (65.59 to 70.31)     68.31 % (67.33 to 69.28)
    resnet20      1.33 % (0.85 to 1.82)       43.23 % (40.07 to 46.38)
    resnet56      0.71 % (0.29 to 1.13)       45.55 % (44.37 to 46.74)

What is claimed (arXiv:1512.03385, sections 1 and 4.2), in points, paired over seeds:

    plain: 56 layers worse than 20      +44.1 (+39.0 to +49.2) training      +23.6 (+22.9 to +24.3) test
    residual: 56 better than 20          +0.6 (-0.3 to +1.5), not shown       -2.3 (-5.0 to +0.3), not shown
    56 layers: better with shortcuts    +67.2 (+64.5 to +70.0)               +22.8 (+22.5 to +23.0)
    20 layers: better with shortcuts    +22.5 (+15.7 to +29.4)                +1.5 (-1.0 to +3.9), not shown
    depth costs more without shortcuts  +44.7 (+40.5 to +48.9)               +21.3 (+19.1 to +23.5)

So 56 plain layers do not overfit: they fail to learn even what they are shown, by far more than in the paper, whose
training takes 27 times as many steps, of twice as many pictures. How much of that is only slowness this budget does not
tell. That more residual layers are better is not shown: both know these few pictures nearly by heart.

A vanishing gradient is another thing, and not what ails plain56, which has batch norms: the gradient of its first
convolution is 10^2.7 (2.2 to 3.2) times that of its last at the first step, that is it grows on its way to the input,
and 10^0.3 (-0.5 to 1.0) times at the end; see recipes/vanishing_gradient.py for some that vanish.

--full has the paper's 182 epochs, 32x32 pixels and 45,000 pictures, moved and mirrored; only its --smoke was run.
"""

import csv
import json
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
from kcnn.statistics import t_interval
from kcnn.training import get_recipe

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")
CONVOLUTIONS = "{stem,stage?_unit?_[ab]}"
SHORT = {"epochs": 15, "batch_size": 64, "learning_rate": 0.05, "warmup": 0.1, "flip": False, "crop": 0}
CLAIMS = (  # for which differences above 0 speak
    ("plain: 56 layers worse than 20", {"plain56": 1, "plain20": -1}),
    ("residual: 56 better than 20", {"resnet20": 1, "resnet56": -1}),
    ("56 layers: better with shortcuts", {"plain56": 1, "resnet56": -1}),
    ("20 layers: better with shortcuts", {"plain20": 1, "resnet20": -1}),
    ("depth costs more without shortcuts", {"plain56": 1, "plain20": -1, "resnet56": -1, "resnet20": 1}),
)
MARGIN = 4  # pixels
ERRORS, STEPS = ("training error", "test error"), ("first step", "last steps")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # named as in Keras' own data sets


class Moved(Split):
    """Pictures to learn from in windows of a black margin, half of them mirrored (arXiv:1512.03385, section 4.2).

    kcnn's own augmentation is TensorFlow's; this is NumPy's. The order of a batch, which is another in every epoch,
    is the seed.
    """

    def read_batch(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = super().read_batch(positions)
        rng = np.random.default_rng(positions)
        count, rows, columns, _ = pixels.shape
        wide = np.pad(pixels, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
        down, right = rng.integers(2 * MARGIN + 1, size=(2, count, 1))
        down, right = down + np.arange(rows), right + np.arange(columns)
        right = np.where(rng.integers(2, size=(count, 1)), right, right[:, ::-1])
        return wide[np.arange(count)[:, None, None], down[:, :, None], right[:, None, :]], labels


def pictures(source: str, seed: int, full: bool, smoke: bool) -> Any:
    """What is learned from and tested on; each seed has its own validation pictures, and when short its own 10,000."""
    from kcnn.data import load

    side = 32 if full else 16
    found: Any = source
    if source.endswith(".npz"):
        with np.load(source) as held:
            if lacking := [word for word in ARRAYS if word not in held]:
                raise ValueError(f"{source} has no {', '.join(lacking)}; it should hold {', '.join(ARRAYS)}")
            found = {word: (held[f"x_{word}"], held[f"y_{word}"]) for word in ("train", "test")}
    data = load(found, input_shape=(side, side, 3), seed=seed)
    if smoke:
        data = data.subset(train=128, validation=20, test=100)
    if not full:
        return data.subset(train=10_000, validation=500)
    train = data.splits["train"]
    return replace(data, splits={**data.splits, "train": Moved(train.cache, train.indices, train.labels)})


def error(model: Any, data: Any) -> float:
    """Of the network in evaluation on the pictures that it learned from, as they are."""
    from kcnn.training.evaluation import compute_scores

    logits, truth = compute_scores(model, replace(data, splits={**data.splits, "test": data.splits["train"]}).test)
    return float(np.mean(logits.argmax(axis=1) != truth))


def norms(path: Path) -> tuple[list[float], list[float]]:
    """The gradient's norm in each convolution, from the first on, at the first step and the last that was sampled."""
    found: dict[str, list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["step"], []).append(float(row["gradient_norm"]))
    rows = list(found.values())
    return rows[0], rows[-1]


def differences(found: dict[str, dict[str, Any]], word: str) -> list[dict[str, Any]]:
    """What speaks for each claim, in points of error paired over seeds; shown where the interval is above 0."""
    rows = []
    for claim, signs in CLAIMS:
        points = 100 * sum(sign * np.array(found[name][word]) for name, sign in signs.items())
        low, high = t_interval(points)
        said = "shown" if low > 0 else "the contrary is shown" if high < 0 else "not shown at this budget"
        rows.append({"claim": claim, "points": float(points.mean()), "low": low, "high": high, "said": said})
    return rows


def reaching(runs: list[list[float]]) -> dict[str, Any]:
    """The first convolution's gradient over the last one's, as a power of ten: above a tenth it does not vanish."""
    powers = [float(np.log10(max(one[0], 1e-30) / max(one[-1], 1e-30))) for one in runs]
    low, high = t_interval(powers)
    said = "does not vanish" if low > -1 else "vanishes" if high < -1 else "not shown at this budget"
    return {"power": float(np.mean(powers)), "low": low, "high": high, "said": said}


def drawn(found: dict[str, dict[str, Any]]) -> Figure:
    """Error while training against epoch, with the spread over seeds, and the gradient's norm by depth."""
    from kcnn.plots.figures import STYLE

    colours = dict(zip(NETWORKS, ("lightsalmon", "firebrick", "skyblue", "navy"), strict=True))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4), layout="constrained")
        curves, *depths = figure.subplots(1, 3, width_ratios=(3, 2, 2))
        for name, one in found.items():
            running = 100 * np.array(one["running"])
            epochs = np.arange(1, running.shape[1] + 1)
            curves.plot(epochs, running.mean(axis=0), color=colours[name], label=name)
            curves.fill_between(epochs, running.min(axis=0), running.max(axis=0), color=colours[name], alpha=0.2)
            for axes, word in zip(depths, STEPS, strict=True):
                middle = np.median(one[word], axis=0)
                axes.semilogy(np.linspace(0, 1, len(middle)), middle, color=colours[name])
                axes.set_title(word)
        curves.set(xlabel="epoch", ylabel="error while training, %", title="mean, lowest and highest of the seeds")
        curves.legend(frameon=False)
        for axes in depths:
            axes.set(xlabel="depth: first convolution to last", ylabel="norm of the gradient")
    return figure


def main(
    data: Annotated[
        str | None, typer.Argument(help='Folder of CIFAR-10, its arrays as .npz, or "tfds:cifar10".')
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs, numbers and picture.")] = Path("runs/deeper"),
    seeds: Annotated[int, typer.Option(min=2, help="How many; each has its own pictures and initial weights.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="15 by default, 182 with --full.")] = None,
    full: Annotated[bool, typer.Option("--full", help="The paper's schedule and pictures, for a GPU.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two seeds, one epoch of 128 pictures, digits by default, few layers.")
    ] = False,
) -> None:
    began, worked = time.perf_counter(), time.process_time()
    start_backend()
    import keras

    import kcnn
    from kcnn import ModelSpec
    from kcnn.atomic_io import write_text
    from kcnn.explain import TrainingStatistics
    from kcnn.plots.figures import save_figure
    from kcnn.reports import write_experiment_report
    from kcnn.training import TrainConfig, train

    source = data or ("digits" if smoke else "tfds:cifar10")
    seeds, epochs = (2, 1) if smoke else (seeds, epochs)
    plan = get_recipe("paper", {"flip": False, "crop": 0} if full else SHORT)  # see Moved
    plan = replace(plan, epochs=epochs or plan.epochs)
    found: dict[str, dict[str, Any]] = {name: {word: [] for word in (*ERRORS, *STEPS, "running")} for name in NETWORKS}
    for seed in range(seeds):
        seen = replace(pictures(source, seed, full, smoke), batch_size=plan.batch_size)
        some = np.linspace(0, len(seen.splits["train"]) - 1, 128).astype("int64")  # of all classes
        batch = seen.splits["train"].read_batch(some)
        for name, one in found.items():
            folder = out / name / f"seed-{seed}"
            watch = TrainingStatistics(
                *batch,
                path=folder / "gradients.csv",
                every=max(1, plan.epochs * seen.steps // 8),
                layers=CONVOLUTIONS,
            )
            run = train(
                ModelSpec(network=name, options={"units": 1 if name.endswith("20") else 2} if smoke else {}),
                seen,
                TrainConfig(recipe=plan, seed=seed),
                out=folder,
                callbacks=[watch],
            )
            one["training error"].append(error(kcnn.load_model(folder / "model.keras"), seen))
            one["test error"].append(1 - run.metrics["accuracy"])
            one["running"].append([1 - row["accuracy"] for row in run.history])
            for word, values in zip(STEPS, norms(folder / "gradients.csv"), strict=True):
                one[word].append(values)
            errors = ", ".join(f"{word} {one[word][-1]:.2%}" for word in ERRORS)
            print(f"seed {seed} {name}: {errors}", flush=True)
            keras.backend.clear_session()
    told: dict[str, Any] = {"networks": found, "differences": {}, "gradients": {}}
    for word in ERRORS:
        print()
        for name, one in found.items():
            low, high = t_interval(one[word])
            print(f"{name:<10}{word} {np.mean(one[word]):.2%} ({low:.2%} to {high:.2%})")
        told["differences"][word] = rows = differences(found, word)
        for row in rows:
            interval = f"{row['points']:+.2f} points ({row['low']:+.2f} to {row['high']:+.2f})"
            print(f"{row['claim']}, {word}: {interval}: {row['said']}")
    print("\nNorm of the gradient in the first convolution over that in the last, as a power of ten:")
    for name, one in found.items():
        told["gradients"][name] = rows = {word: reaching(one[word]) for word in STEPS}
        for word, row in rows.items():
            interval = f"{row['power']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
            print(f"{name:<10}{word}: {interval}: {row['said']}")
    write_text(out / "deeper.json", json.dumps(told, indent=1))
    save_figure(drawn(found), out / "deeper.png")
    minutes = (time.perf_counter() - began) / 60, (time.process_time() - worked) / 60
    print(f"\n{write_experiment_report(out, __doc__)}; {minutes[0]:.0f} min, {minutes[1]:.0f} min of processor time")


if __name__ == "__main__":
    script(main)
