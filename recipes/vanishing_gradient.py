"""Where does the gradient vanish? Norms by layer and step: activation, initialization, depth, batch norm, GoogLeNet.

    python recipes/vanishing_gradient.py

On 2 CPU cores, beside other work, in 8 min 18 s, seeds 0 to 2, three epochs of 1,258 training images of digits at 16x16
pixels. The gradient norm of the first convolution divided by that of the last, at the first step, as a power of ten
with its 95% interval, and the final training accuracy, of plain networks (without shortcuts) of 20 layers:

    sigmoid, naive initialization      -10.5 (-10.8 to -10.2)   9.29%
    sigmoid, He                         -6.7 (-7.3 to -6.0)     9.83%
    ReLU, naive                         -4.8 (-5.0 to -4.6)    10.23%
    ReLU, He                            -0.9 (-1.0 to -0.7)    71.93%
    sigmoid, He, batch norm             -0.5 (-0.6 to -0.4)    99.44%
    ReLU, He, batch norm                +0.6 (+0.5 to +0.7)    92.28%
    ReLU, He, 44 layers                 -1.4 (-1.8 to -1.1)    10.20%
    ReLU, He, 44 layers, batch norm     +2.2 (+1.6 to +2.7)    19.55%

The accuracies are those of the last epoch, which counted when this was measured. A network whose gradient vanishes
learns nothing. 44 layers with batch norm do not learn in these epochs either, although their gradient does not vanish:
that has another cause. In GoogLeNet at 80x80, before its second step, the power is -0.2 (-0.4 to +0.0) without
auxiliary classifiers and +0.7 (+0.5 to +0.9) with them: they feed the early layers.
"""

from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure

from kcnn import ModelSpec
from kcnn.cli import script
from kcnn.cli.backend import start_backend

SIGMOID = {"*_relu.function": "sigmoid"}
NAIVE = {"{stem,stage*}.kernel_initializer": "random_normal"}  # standard deviation 0.05 for any number of filters
PLAIN = {  # network, overrides, options
    "sigmoid, naive": ("plain20", {**SIGMOID, **NAIVE}, {"norm": False}),
    "sigmoid, He": ("plain20", SIGMOID, {"norm": False}),
    "ReLU, naive": ("plain20", NAIVE, {"norm": False}),
    "ReLU, He": ("plain20", {}, {"norm": False}),
    "sigmoid, He, batch norm": ("plain20", SIGMOID, {}),
    "ReLU, He, batch norm": ("plain20", {}, {}),
    "ReLU, He, 44 layers": ("plain44", {}, {"norm": False}),
    "ReLU, He, 44 layers, batch norm": ("plain44", {}, {}),
}
SPECS = {name: ModelSpec(network=net, overrides=over, options=own) for name, (net, over, own) in PLAIN.items()}
GOOGLENETS = {
    "GoogLeNet": ModelSpec(network="googlenet"),
    "GoogLeNet with auxiliary classifiers": ModelSpec(network="googlenet", aux=True),
}
TINY = 1e-30  # instead of 0, for logarithms


def select_norms(rows: list[dict], step: int) -> dict[str, float]:
    """Return the gradient norm of each convolution at a step, from the input on."""
    return {
        row["layer"]: row["gradient_norm"]
        for row in rows
        if row["step"] == step and row["gradient_norm"] is not None and not row["layer"].endswith(("_bn", "logits"))
    }


def describe(results: list[dict]) -> str:
    """Return the power of ten of the first convolution's gradient by the last one's, and the training accuracy."""
    from kcnn.statistics import t_interval

    powers = [np.log10(max(one["first"][0], TINY) / max(one["first"][-1], TINY)) for one in results]
    low, high = t_interval(powers) if len(powers) > 1 else powers * 2
    last = np.median([np.log10(max(one["last"][0], TINY)) for one in results])
    accuracy = np.mean([one["accuracy"] for one in results])
    return (
        f"first/last layer 10^{np.mean(powers):+.1f} ({low:+.1f} to {high:+.1f}) at step 1; "
        f"first layer 10^{last:+.1f} at the end; training accuracy {accuracy:.2%}"
    )


def plot_norms(results: dict[str, list[dict]]) -> Figure:
    from kcnn.plots.figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for name, runs in results.items():
            median = np.median([run["first"] for run in runs], axis=0)
            axes.semilogy(np.linspace(0, 1, len(median)), np.maximum(median, TINY), marker=".", label=name)
        axes.set(xlabel="depth: first convolution to last", ylabel="gradient norm at step 1")
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def main(
    out: Annotated[Path, typer.Option(help="Folder of runs, results and plot.")] = Path("runs/vanishing-gradient"),
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 3,
    seeds: Annotated[int, typer.Option(help="Number of seeds, of initial weights.")] = 3,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two networks, one epoch of 100 digits, one seed.")] = False,
) -> None:
    start_backend()
    from kcnn.data import load
    from kcnn.explain import TrainingStatistics
    from kcnn.reports import write_experiment_report
    from kcnn.training import TrainConfig, measure_variants, name_run_folder, train

    digits, specs, googlenets = load("digits", input_shape=(16, 16, 1)), SPECS, GOOGLENETS
    if smoke:
        digits, epochs, seeds, googlenets = digits.subset(train=100), 1, 1, {}
        specs = {name: SPECS[name] for name in ("sigmoid, naive", "ReLU, He, batch norm")}

    def measure_all(specs: dict[str, ModelSpec], dataset, epochs: int) -> dict[str, list[dict]]:
        batch = [np.asarray(array) for array in next(iter(dataset.train))]

        def measure(name: str, dataset, seed: int) -> dict:
            statistics = TrainingStatistics(*batch, every=20)
            folder = name_run_folder(out, seed, name)
            run = train(
                specs[name],
                dataset,
                TrainConfig(recipe="quick", seed=seed, precision="float32"),  # "auto" can differ between the networks
                out=folder,
                epochs=epochs,
                callbacks=[statistics],
                verbose=0,
            )
            first, last = (select_norms(statistics.rows, step) for step in (1, statistics.rows[-1]["step"]))
            return {
                "layers": list(first),
                "first": list(first.values()),
                "last": list(last.values()),
                "accuracy": run.history[-1]["accuracy"],
            }

        return measure_variants(
            specs, range(seeds), lambda seed: dataset, measure, describe=lambda one: describe([one])
        )

    results = measure_all(specs, digits, epochs)
    if googlenets:
        results |= measure_all(googlenets, load("digits", input_shape=(80, 80, 1)).subset(train=64), 1)
    print()
    for name, runs in results.items():
        print(f"{name:38}{describe(runs)}")
    report = write_experiment_report(
        out,
        __doc__,
        results={
            "gradients": {name: {key: [run[key] for run in runs] for key in runs[0]} for name, runs in results.items()}
        },
        figures={"gradients": plot_norms(results)},
    )
    print(f"report: {report}")


if __name__ == "__main__":
    script(main)
