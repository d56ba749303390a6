"""Commands that train, and list what was trained. TensorFlow is loaded when a training starts."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import kcnn
from kcnn.cli.backend import start_backend
from kcnn.cli.console import (
    UsageError,
    err,
    format_count,
    format_shape,
    make_table,
    out,
    parse_assignments,
    per_class_table,
    resume_hint,
)
from kcnn.cli.options import (
    DATA,
    HARDWARE,
    MODEL,
    OUTPUT,
    TRAINING,
    AuxHeads,
    InputSize,
    ModelOptions,
    Network,
    Overrides,
    examples,
    parse_input_size,
)

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
Strategy = Literal["auto", "single", "mirrored", "multiworker"]


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog=examples(
            "kcnn train googlenet.bn --data digits --input-size 64x64x1 --epochs 8",
            "kcnn train mobilenet_v2 --data photos/ --input-size 160 --recipe strong --epochs 30",
            "kcnn train mobilenet_v2 --data labels.csv --multi-label",
            "kcnn train resnet20 --data cifar/ --recipe paper --recipe-option label_smoothing=0.1",
            "kcnn train convnet --data tfds:fashion_mnist --epochs 2 --learning-rate 2e-3",
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
            help='"digits", "tfds:NAME", a folder with a folder per class, or a CSV.',
            rich_help_panel=DATA,
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help='"quick", "paper" (ResNet on CIFAR-10) or "strong"; printed in full.',
            rich_help_panel=TRAINING,
        ),
    ] = "quick",
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", min=1, help="Number of epochs.", rich_help_panel=TRAINING)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the run; runs/NAME by default.", rich_help_panel=OUTPUT),
    ] = None,
    input_size: InputSize = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", min=1, help="Images per step.", rich_help_panel=TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", help="Peak learning rate of the schedule.", rich_help_panel=TRAINING),
    ] = None,
    recipe_option: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe-option",
            metavar="FIELD=VALUE",
            help="Set any other field of the recipe, such as flip=false or ema_momentum=0.999; may be repeated.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    multi_label: Annotated[
        bool,
        typer.Option(
            "--multi-label",
            help="Any number of labels per image: from a CSV, or a file name in several class folders.",
            rich_help_panel=DATA,
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(help="Seed of initial weights, splits, order and augmentation.", rich_help_panel=TRAINING),
    ] = 0,
    precision: Annotated[
        Precision,
        typer.Option("--precision", "-p", help="Mixed precision policy of Keras.", rich_help_panel=HARDWARE),
    ] = "auto",
    strategy: Annotated[
        Strategy,
        typer.Option("--strategy", help="One device, all GPUs, or several machines.", rich_help_panel=HARDWARE),
    ] = "auto",
    auto_batch_size: Annotated[
        bool,
        typer.Option(
            "--auto-batch-size", help="Halve the batch size until it fits in memory.", rich_help_panel=HARDWARE
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard too.", rich_help_panel=OUTPUT)
    ] = False,
    aux_heads: AuxHeads = False,
    weights: Annotated[
        str | None,
        typer.Option("--weights", "-w", help="Pretrained weights by name, or a file.", rich_help_panel=MODEL),
    ] = None,
    model_option: ModelOptions = None,
    override: Overrides = None,
) -> None:
    """Train a network on your images, test it once, and write the model, metrics and plots to a folder.

    Interrupted or killed, the same command resumes from the last completed epoch.
    """
    from kcnn.training import TrainConfig

    folder = to or Path("runs") / name
    input_shape = parse_input_size(input_size, name)
    if input_shape is None and data.partition(":")[0] == "digits":
        input_shape = (*kcnn.get_architecture(name).input_shape[:2], 1)
    spec = kcnn.ModelSpec(
        network=name,
        input_shape=input_shape,
        options=parse_assignments(model_option, "--model-option"),
        overrides=parse_assignments(override, "--override"),
        aux=aux_heads,
        weights=weights,
    )
    spec.check()  # mistakes are reported before anything is loaded
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
    )
    out.print(f"[bold]{name}[/] on [bold]{data}[/] into {folder}")
    out.print(f"recipe {recipe}: {_format_recipe(config.resolved_recipe.asdict())}", markup=False, soft_wrap=True)
    with err.status("loading Keras"):
        start_backend(strategy)
        from kcnn.cli.progress import EpochBars, Interruptible
        from kcnn.training import train as run
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with resume_hint(folder), Interruptible() as heard, Progress(*columns, console=err, transient=True) as bars:
        reading = bars.add_task("reading", total=None)

        def progress(before: int, total: int, done: int) -> None:
            bars.update(reading, total=total, completed=before + done, visible=before + done < total)

        def say(text: str) -> None:
            bars.console.print(text, style="yellow", markup=False, soft_wrap=True)

        found = run(
            spec,
            data,
            config,
            out=folder,
            callbacks=[EpochBars(bars, config.resolved_recipe.epochs), heard],
            progress=progress,
            log=say,
        )
    if found.metrics:
        _report(found)
    else:
        out.print("done; the chief, worker 0, has written the run")


def launch(
    workers: Annotated[int, typer.Option("--workers", "-n", min=1, help="Processes to start.")],
    command: Annotated[list[str], typer.Argument(help="What each of them runs.")],
) -> None:
    """Try a training of several workers on this machine: start them all, and end all when one fails."""
    from kcnn.distribute import launch as started

    raise typer.Exit(started(workers, command))


def _format_recipe(fields: dict[str, Any]) -> str:
    """A recipe's fields on one line; what an augmentation leaves off is left out."""
    inner = fields.pop("augmentation")
    on = {name: value for name, value in inner.items() if value}
    said = ", ".join(f"{name} {_value(value)}" for name, value in fields.items())
    return f"{said}; augmentation: {', '.join(f'{name} {_value(value)}' for name, value in on.items()) or 'none'}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_value, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _report(found: Any) -> None:
    metrics = found.metrics
    if found.resumed_epochs == metrics["epochs"]:
        out.print(f"all {found.resumed_epochs} epochs were there already")
    out.print(per_class_table(metrics["per_class"]))
    many = "mean_average_precision" in metrics
    measure = "mean average precision" if many else "accuracy"
    tested = metrics["mean_average_precision"] if many else metrics["accuracy"]
    validated = found.history[metrics["epoch"] - 1]["val_average_precision" if many else "val_accuracy"]
    correct = f"{metrics['correct']} of {metrics['test_images']}{' with every label right' if many else ''}"
    out.print(
        f"\n[bold]test {measure} {tested:.2%}[/] ({correct}), "
        f"validation {validated:.2%}; {format_count(metrics['params'])} parameters, "
        f"{format_count(metrics['macs'])} MACs an image of {format_shape(metrics['request']['input_shape'])}; "
        f"trained in {metrics['training_seconds']:.0f} s, {metrics['images_per_second']:.0f} images/s at last, "
        f"peak memory {metrics['peak_memory_mb'] / 1e3:.2g} GB",
        soft_wrap=True,
    )
    for said in metrics["notes"]:
        out.print(said, style="yellow", markup=False)
    for word, what in (("skipped", "files could not be decoded"), ("repeated", "pictures stand in two splits")):
        if metrics[word]:
            out.print(f"[yellow]{metrics[word]} {what}: see {found.folder / word}.csv[/]")
    if metrics["epoch"] < metrics["epochs"]:
        out.print(f"model.keras is of epoch {metrics['epoch']}, the best in validation")
    out.print(
        f"model.keras, best.keras (epoch {metrics['best_epoch']}), history.csv, metrics.json, curves.png, "
        f"{'average_precision' if many else 'confusion'}.png in [bold]{found.folder}[/]"
    )
    from kcnn.reports import write_report

    out.print(f"to look at: {write_report(found.folder)}", soft_wrap=True)


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("runs"),
    sort: Annotated[str, typer.Option(help='By "name", "validation", "test", "params" or "seconds".')] = "name",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List runs side by side: what was trained, how far it came, and how well."""
    from dataclasses import asdict

    from kcnn.training.run_directory import list_runs as found

    if sort not in ("name", "validation", "test", "params", "seconds"):
        raise UsageError(f"runs are sorted by name, validation, test, params or seconds, not by {sort!r}")
    listed = found(folder)
    if sort != "name":
        best = sort in ("validation", "test")
        listed.sort(key=lambda run: (getattr(run, sort) is None, (getattr(run, sort) or 0) * (-1 if best else 1)))
    if as_json:
        print(json.dumps([asdict(run) for run in listed], indent=1))
        return
    columns = ("run", "network", "data", "recipe", "seed", "epochs", "validation", "test", "params", "seconds", "")
    rows = (
        (
            *(run.name, run.network, run.data, run.recipe, str(run.seed)),
            f"{run.done} of {run.epochs}",
            "" if run.validation is None else f"{run.validation:.2%}",
            "" if run.test is None else f"{run.test:.2%}",
            "" if run.params is None else format_count(run.params),
            f"{run.seconds:.0f}",
            "" if run.finished else "unfinished",
        )
        for run in listed
    )
    out.print(make_table(columns, rows, left=("run", "network", "data", "recipe", ""), wraps=("run", "data")))
