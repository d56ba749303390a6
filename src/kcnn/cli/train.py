"""Commands that train, and list runs. TensorFlow is loaded when a training starts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from kcnn.cli.backend import show_device, start_backend
from kcnn.cli.console import (
    err,
    make_table,
    out,
    parse_assignments,
    per_class_table,
    print_job,
    resume_hint,
    show_spinner,
)
from kcnn.cli.options import (
    DATA,
    HARDWARE,
    MODEL,
    OUTPUT,
    TRAINING,
    AsJson,
    AuxHeads,
    BatchSize,
    Folds,
    InputSize,
    LearningRate,
    ModelOptions,
    MultiLabel,
    Network,
    Overrides,
    PrecisionOption,
    RecipeName,
    RecipeOptions,
    StrategyOption,
    choose_input_shape,
    examples,
)
from kcnn.graph.formatting import format_count, format_size
from kcnn.run_folders import check_output_folder

RunColumn = Literal["name", "validation", "test", "params", "seconds"]


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog=examples(
            "kcnn train googlenet.bn --data digits --input-size 64x64x1 --epochs 8",
            "kcnn train mobilenet_v2 --data photos/ --input-size 160 --recipe strong --epochs 30",
            "kcnn train mobilenet_v2 --data labels.csv --multi-label",
            "kcnn train resnet20 --data cifar/ --recipe paper --recipe-option label_smoothing=0.1",
            "kcnn train convnet --data tfds:fashion_mnist --epochs 2 --learning-rate 2e-3",
            "kcnn train stack --data digits --input-size 8x8x1 --folds 5",
            "kcnn train hf://timm/resnet18.a1_in1k --data photos/",
        )
    )(train)
    app.command(
        context_settings={"allow_interspersed_args": False},
        epilog=examples("kcnn launch --workers 2 kcnn train convnet --data digits --strategy multiworker"),
    )(launch)
    app.command(epilog=examples("kcnn runs", "kcnn runs runs/ --sort test --json"))(runs)


def train(
    name: Network,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            help='Images: "digits", "tfds:NAME", a folder with a folder per class, or a CSV.',
            rich_help_panel=DATA,
        ),
    ],
    multi_label: MultiLabel = False,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", "-w", help="Start from pretrained weights: a name, or a file.", rich_help_panel=MODEL
        ),
    ] = None,
    input_size: InputSize = None,
    model_option: ModelOptions = None,
    override: Overrides = None,
    aux_heads: AuxHeads = False,
    recipe: RecipeName = "auto",
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", min=1, help="Number of epochs.", rich_help_panel=TRAINING)
    ] = None,
    folds: Folds = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    recipe_option: RecipeOptions = None,
    seed: Annotated[
        int,
        typer.Option(help="Seed of initial weights, splits, order and augmentation.", rich_help_panel=TRAINING),
    ] = 0,
    precision: PrecisionOption = "auto",
    strategy: StrategyOption = "auto",
    auto_batch_size: Annotated[
        bool,
        typer.Option(
            "--auto-batch-size", help="Halve the batch size until it fits in memory.", rich_help_panel=HARDWARE
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the run; runs/NAME, or runs/NAME-2 and so on beside other runs.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard too.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Train a network on your images, test it once, and write the model, metrics and plots to a folder.

    Interrupted or killed, the same command resumes from the last completed epoch.
    """
    from kcnn.training.config import TrainConfig
    from kcnn.training.recipes import format_recipe
    from kcnn.training.run_directory import check_settings
    from kcnn.weights.hub_files import find_address
    from kcnn.weights.published import resolve_spec
    from kcnn.weights.weight_files import check_weights

    options, overrides = parse_assignments(model_option, "--model-option"), parse_assignments(override, "--override")
    spec = resolve_spec(name, weights, options=options, overrides=overrides, aux=aux_heads)
    if find_address(name):
        spec = replace(spec, classes=None)  # those of the data
    name = str(spec.network)
    spec = replace(spec, input_shape=choose_input_shape(input_size, name, data) or spec.input_shape)
    spec.check()  # mistakes are reported before anything is loaded
    if spec.weights is not None:
        check_weights(replace(spec, weights=None).trace(), spec.weights)
    config = TrainConfig(
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        recipe_overrides=parse_assignments(recipe_option, "--recipe-option"),
        multi_label=multi_label,
        seed=seed,
        precision=precision,
        strategy=strategy,
        auto_batch_size=auto_batch_size,
        tensorboard=tensorboard,
        folds=folds,
    )
    config.check_process()
    print_job(name, data, to, spec.nominal_shape)
    if recipe != "auto":  # which depends on the data
        out.print(f"recipe {recipe}: {format_recipe(config.resolved_recipe)}", soft_wrap=True)
    if to is not None:
        check_output_folder(to, "run")
        check_settings(to, spec, config)
    from kcnn.data.loading import check_data

    check_data(data, folds=folds, seed=seed, multi_label=multi_label)
    with show_spinner("loading Keras"):
        start_backend(strategy)
        from kcnn.cli.progress import InterruptHandler, RunBar
        from kcnn.training.trainer import train as run
    show_device(strategy)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # Steps may take longer than Rich's 30 s; validation between epochs counts in the time left.
    progress = Progress(*columns, console=err, transient=True, speed_estimate_period=600)
    with resume_hint(to), InterruptHandler() as interrupt, progress as bars:

        def show_message(text: str) -> None:
            bars.console.print(text, markup=False, soft_wrap=True)

        result = run(
            spec,
            data,
            config,
            out=to,
            callbacks=[RunBar(bars, " of this fold" if folds else ""), interrupt],
            verbose=0,
            log=show_message,
        )
    if result.metrics:
        _print_result(result)
    else:
        out.print("finished; worker 0 (the chief) has written the results")


def launch(
    workers: Annotated[
        int, typer.Option("--workers", "-n", min=1, help="Number of processes.", rich_help_panel=HARDWARE)
    ],
    command: Annotated[list[str], typer.Argument(help="The command that each process runs.")],
) -> None:
    """Start a training with several workers on this machine; all end when one fails.

    Each process gets a TF_CONFIG with the addresses of all, and an equal part of the GPUs.
    """
    from kcnn.distribute.processes import launch as start

    raise typer.Exit(start(workers, command))


def _print_result(result: Any) -> None:
    from kcnn.classification import format_mean_precision
    from kcnn.training.result import describe_failure

    metrics = result.metrics
    if result.resumed_epochs == metrics["epochs"]:
        out.print(f"all {result.resumed_epochs} epochs were completed before")
    out.print(per_class_table(metrics["per_class"]))
    is_multi_label = "mean_average_precision" in metrics
    measure = "mean average precision" if is_multi_label else "accuracy"
    test = format_mean_precision(metrics) if is_multi_label else f"{metrics['accuracy']:.2%}"
    best = metrics["best_epoch"]
    if folds := result.cross_validation:
        validation, chosen_by = f"cross-validation {folds}", "the folds"
    else:
        score = result.history[best - 1]["val_average_precision" if is_multi_label else "val_accuracy"]
        validation, chosen_by = f"validation {score:.2%}", "validation"
    subset = " with the exact set of labels" if is_multi_label else ""
    out.print(f"\ntest {measure} {test}", style="bold", end=" ")
    out.print(
        f"({metrics['correct']} of {metrics['test_images']} images{subset}), "
        f"{validation}; {format_count(metrics['params'])} parameters, "
        f"{format_count(metrics['macs'])} MACs per image of {format_size(metrics['request']['input_shape'])}; "
        f"trained in {metrics['training_seconds']:.0f} s, {metrics['images_per_second']:.0f} images/s in the last "
        f"epoch, peak memory {metrics['peak_memory_mb'] / 1e3:.2g} GB",
        soft_wrap=True,
    )
    if warning := describe_failure(metrics):
        out.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    for name, text in (("skipped", "files could not be decoded"), ("duplicates", "duplicate images")):
        if metrics[name]:
            out.print(f"{metrics[name]} {text}: see {result.folder / name}.csv", style="yellow", soft_wrap=True)
    out.print(
        f"model.keras (epoch {best} of {metrics['epochs']}, chosen by {chosen_by}), history.csv, metrics.json, "
        f"curves.png, {'average_precision' if is_multi_label else 'confusion'}.png in {result.folder}",
        soft_wrap=True,
    )
    from kcnn.reports import write_report
    from kcnn.training.run_directory import log_failure

    with log_failure("report", lambda text: err.print(text, style="yellow", markup=False, soft_wrap=True)):
        out.print(f"report: {write_report(result.folder)}", markup=False, soft_wrap=True)


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("runs"),
    sort: Annotated[RunColumn, typer.Option("--sort", help="Column to sort by.", rich_help_panel=OUTPUT)] = "name",
    as_json: AsJson = False,
) -> None:
    """List training runs: network, data, recipe, completed epochs, accuracy and training time."""
    from dataclasses import asdict

    from kcnn.training.run_summaries import list_runs

    listed = list_runs(folder)
    if sort != "name":
        sign = -1 if sort in ("validation", "test") else 1  # the best first
        listed.sort(key=lambda run: (getattr(run, sort) is None, sign * (getattr(run, sort) or 0)))
    if as_json:
        print(json.dumps([asdict(run) for run in listed], indent=1))
        return
    columns = ("run", "network", "data", "recipe", "seed", "epochs", "validation", "test", "params", "seconds", "")
    rows = (
        (
            *(run.name, run.network, run.data, run.recipe, "" if run.seed is None else str(run.seed)),
            "" if run.problem else f"{run.completed} of {run.epochs}",
            "" if run.validation is None else f"{run.validation:.2%}",
            "" if run.test is None else f"{run.test:.2%}",
            "" if run.params is None else format_count(run.params),
            f"{run.seconds:.0f}",
            "damaged" if run.problem else "" if run.finished else "unfinished",
        )
        for run in listed
    )
    out.print(make_table(columns, rows, left=("run", "network", "data", "recipe", ""), wraps=("run", "data")))
    for run in listed:
        if run.problem:
            err.print(run.problem, style="yellow", markup=False, soft_wrap=True)
