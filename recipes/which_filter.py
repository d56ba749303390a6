"""Which filter? Kernels of 1, 3, 5 or 7 pixels alone, against several at once (an inception module), at equal work.

    python recipes/which_filter.py        # 5 networks, 5 seeds; a picture and the numbers in runs/

A stem of 3x3-16, then two layers of the filter with a pool in between, and a global average. Filters are as many as
come to 1.76 million MACs, within 2 %. 400 digits of scikit-learn's at 16x16 pixels to learn from, 1,297 to test.
Measured on 2 CPU cores, which did other work as well, in 4 min 16 s; accuracy over seeds 0 to 4, with 95 % intervals:

                 filters       MACs  parameters  field  accuracy
    1x1              101  1,758,308      24,830      4  93.96 % (92.97 to 94.94)
    3x3               26  1,774,600      16,774     10  97.73 % (97.25 to 98.21)
    5x5               12  1,726,704      12,498     16  97.49 % (97.02 to 97.95)
    7x7                7  1,749,260      10,658     22  97.61 % (97.11 to 98.11)
    inception         39  1,763,852      18,293     16  97.42 % (96.68 to 98.17)

Paired over seeds, 1x1 is 3.78 points (2.92 to 4.64) worse than 3x3: it sees no neighbours. 5x5 is 0.25 points (0.02 to
0.48) worse, which one of seven comparisons at 95 % may be by chance. 7x7 against 3x3 (-0.12; -0.67 to +0.42), and the
inception module against 3x3 (-0.31; -1.08 to +0.47), 5x5 (-0.06; -0.90 to +0.78) and 7x7 (-0.19; -0.62 to +0.25): not
shown. Several filters at once are the choice of who does not know the size: 3.47 points (2.87 to 4.07) better than the
wrong one, not better than the right one.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure

import kcnn
from kcnn.blocks import conv, inception, max_pool
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.statistics import t_interval

SHAPE = (16, 16, 1)
MACS = 1.76e6  # of each network, within 2 %: of 1 to 2 million the number that whole filters come nearest to


def body(x, *, kernel: int = 3, filters: int = 16):
    """3x3-16, then twice a convolution of one kernel or, where that is 0, an inception module; a pool in between."""
    x = conv(x, 16, norm=True, name="stem")
    x = filtered(x, kernel, filters, name="first")
    return filtered(max_pool(x, name="pool1"), kernel, 2 * filters, name="second")


def filtered(x, kernel: int, filters: int, *, name: str):
    """So many filters of one kernel, or of several at once in the shares of GoogLeNet's 3a (arXiv:1409.4842)."""
    if kernel:
        return conv(x, filters, kernel, norm=True, name=name)
    c1, r3, r5, c5, proj = (max(round(filters * share), 1) for share in (1 / 4, 3 / 8, 1 / 16, 1 / 8, 1 / 8))
    return inception(x, c1, r3, filters - c1 - c5 - proj, r5, c5, proj, norm=True, name=name)


NETWORK = kcnn.Architecture(
    backbone=body, input_shape=SHAPE, classes=10, reference="a small network, to compare what sees how far"
)
WAYS = {"1x1": 1, "3x3": 3, "5x5": 5, "7x7": 7, "inception": 0}
PAIRS = (("1x1", "3x3"), ("5x5", "3x3"), ("7x7", "3x3"), *(("inception", one) for one in WAYS if one != "inception"))


def at_equal_macs(kernel: int) -> kcnn.Graph:
    """The network with that kernel and the filters that come nearest to MACS."""
    drawings = [kcnn.trace(NETWORK, kernel=kernel, filters=filters) for filters in range(4, 161)]
    return min(drawings, key=lambda drawing: abs(kcnn.summary(drawing).macs - MACS))


def trained(drawing: Any, digits: Any, epochs: int, seed: int) -> float:
    """Test accuracy after a training by Keras' fit, with Adam and a rate that falls along a cosine."""
    import keras

    from kcnn.training import CrossEntropy, adamw, make_accuracy, schedule

    keras.utils.set_random_seed(seed)
    model = kcnn.build(drawing, seed=seed)
    rate = schedule("cosine", 3e-3, steps=epochs * digits.steps, warmup=0.05)
    model.compile(adamw(rate), CrossEntropy(), weighted_metrics=[make_accuracy()], jit_compile=False)
    model.fit(digits.epochs(0, epochs), steps_per_epoch=digits.steps, epochs=epochs, shuffle=False, verbose=0)
    found = model.evaluate(digits.test, return_dict=True, verbose=0)["accuracy"]
    keras.backend.clear_session()
    return found


def differences(accuracy: dict[str, Any]) -> list[dict[str, Any]]:
    """Of pairs of ways over seeds, in points of accuracy; shown where the interval leaves out 0."""
    found = []
    for better, worse in PAIRS:
        points = 100 * (np.array(accuracy[better]) - accuracy[worse])
        low, high = t_interval(points)
        one = {"of": better, "against": worse, "points": float(points.mean()), "low": low, "high": high}
        found.append({**one, "shown": low > 0 or high < 0})
    return found


def picture(accuracy: dict[str, Any]) -> Figure:
    """Accuracy of every network: its seeds, and the mean with its interval."""
    from kcnn.plots.figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        for place, values in enumerate(accuracy.values()):
            axes.plot([place] * len(values), np.multiply(values, 100), "o", color="silver", markersize=4)
            axes.plot([place + 0.15] * 2, np.multiply(t_interval(values), 100), color="steelblue", linewidth=2)
            axes.plot(place + 0.15, 100 * np.mean(values), "o", color="steelblue")
        axes.set_xticks(range(len(accuracy)), list(accuracy))
        axes.set(ylabel="test accuracy, %", title="Filters at equal multiply-accumulates: seeds, mean, 95 % interval")
    return figure


def main(
    out: Annotated[Path, typer.Option(help="Folder of numbers and picture.")] = Path("runs/which-filter"),
    seeds: Annotated[int, typer.Option(min=2, help="How many; each has its own digits and initial weights.")] = 5,
    images: Annotated[int, typer.Option(help="To learn from.")] = 400,
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 40,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: two seeds, one epoch.")] = False,
) -> None:
    seeds, epochs = (2, 1) if smoke else (seeds, epochs)
    drawings = {name: at_equal_macs(kernel) for name, kernel in WAYS.items()}
    start_backend()
    from kcnn.atomic_io import write_text
    from kcnn.data.digits import sample_digits
    from kcnn.plots.figures import save_figure
    from kcnn.reports import write_experiment_report

    accuracy: dict[str, Any] = {name: [] for name in WAYS}
    for seed in range(seeds):
        digits = sample_digits(seed, images)
        for name, drawing in drawings.items():
            accuracy[name].append(trained(drawing, digits, epochs, seed))
            print(seed, name, f"{accuracy[name][-1]:.2%}", flush=True)
    rows = {}
    print(f"\n{'':<11}{'filters':>8}{'MACs':>11}{'parameters':>12}{'field':>7}  accuracy")
    for name, values in accuracy.items():
        measured, filters = kcnn.summary(drawings[name]), drawings[name].spec.options["filters"]
        low, high = t_interval(values)
        rows[name] = {"filters": filters, "macs": measured.macs, "params": measured.params, "accuracy": values}
        counts = f"{filters:>8}{measured.macs:>11,}{measured.params:>12,}{measured.receptive_field[0]:>7}"
        print(f"{name:<11}{counts}  {np.mean(values):.2%} ({low:.2%} to {high:.2%})")
    found = differences(accuracy)
    for one in found:
        said = "" if one["shown"] else ": not shown"
        interval = f"({one['low']:+.2f} to {one['high']:+.2f})"
        print(f"{one['of']} against {one['against']}: {one['points']:+.2f} points {interval}{said}")
    write_text(out / "metrics.json", json.dumps({"networks": rows, "differences": found}, indent=1))
    save_figure(picture(accuracy), out / "filters.png")
    print(f"to look at: {write_experiment_report(out, __doc__)}")


if __name__ == "__main__":
    script(main)
