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
    parse_shape,
    per_class_table,
    resume_hint,
)
from kcnn.cli.networks import Changes, Input, Options, _examples

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
Strategy = Literal["auto", "single", "mirrored", "multiworker"]


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn train googlenet.bn --data digits --input 64x64x1 --epochs 8",
            "kcnn train mobilenet_v2 --data photos/ --input 160x160 --recipe strong --epochs 30",
            "kcnn train mobilenet_v2 --data labels.csv --multi-label",
            "kcnn train resnet20 --data cifar/ --recipe paper --adjust crop=4 --adjust label_smoothing=0.1",
            "kcnn train convnet --data tfds:fashion_mnist --epochs 2 --learning-rate 2e-3",
        )
    )(train)
    app.command(
        context_settings={"allow_interspersed_args": False},
        epilog=_examples("kcnn launch --workers 2 kcnn train convnet --data digits --strategy multiworker"),
    )(launch)
    app.command(epilog=_examples("kcnn runs", "kcnn runs runs/ --sort test --json"))(runs)


def train(
    name: Annotated[str, typer.Argument(help='A network, or a variant: "googlenet.bn".')],
    data: Annotated[str, typer.Option("--data", "-d", help='"digits", "tfds:NAME", a folder of class folders, a CSV.')],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help='"quick", "paper" (ResNet on CIFAR-10) or "strong"; printed in full.')
    ] = "quick",
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", min=1, help="Times through the images.")] = None,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/NAME by default.")] = None,
    input: Input = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "-l", help="At its highest.")] = None,
    adjust: Annotated[
        list[str] | None, typer.Option("--adjust", "-a", help="Any other field of the recipe: flip=false, ema=0.999.")
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Any number of labels a picture: a CSV, or one name in many folders.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Fixes initial weights, splits, order and augmentation.")] = 0,
    precision: Annotated[Precision, typer.Option("--precision", "-p", help="Numbers it computes in.")] = "auto",
    strategy: Annotated[Strategy, typer.Option("--strategy", help="One device, all GPUs, several machines.")] = "auto",
    auto_batch: Annotated[bool, typer.Option("--auto-batch", help="Halve a batch that memory does not hold.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write events for TensorBoard too.")] = False,
    aux: Annotated[bool, typer.Option("--aux", help="With the network's auxiliary classifiers.")] = False,
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", help="To start from: published ones by name, or a file.")
    ] = None,
    set: Options = None,
    change: Changes = None,
) -> None:
    """Train a network on pictures, test it once, and leave model and pictures in a folder.

    Stopped with Ctrl-C or killed, the same command goes on after the last whole epoch.
    """
    from kcnn.training import get_recipe as planned

    folder = to or Path("runs") / name
    options, changes = parse_assignments(set or [], "option"), parse_assignments(change or [], "change")
    adjusted = parse_assignments(adjust or [], "field of a recipe")
    wanted = parse_shape(input) if input else None
    drawing = kcnn.trace(name, input_shape=wanted, overrides=changes, aux=aux, **options)  # mistakes, before the wait
    if wanted is None and data.partition(":")[0] == "digits":
        wanted = (*drawing.input.shape[:2], 1)
    words = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    adjusted |= {name: value for name, value in words.items() if value is not None}
    plan = planned(recipe, adjusted)
    out.print(f"[bold]{name}[/] on [bold]{data}[/] into {folder}")
    out.print(f"recipe {recipe}: {_spoken(plan.asdict())}", markup=False, soft_wrap=True)
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
            name,
            data,
            out=folder,
            recipe=recipe,
            recipe_overrides=adjusted,
            input_shape=wanted,
            multi_label=multi_label,
            seed=seed,
            precision=precision,
            strategy=strategy,
            auto_batch_size=auto_batch,
            tensorboard=tensorboard,
            aux=aux,
            overrides=changes,
            weights=weights,
            options=options,
            callbacks=[EpochBars(bars, plan.epochs), heard],
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


def _spoken(fields: dict[str, Any]) -> str:
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
    if found.resumed == metrics["epochs"]:
        out.print(f"all {found.resumed} epochs were there already")
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
