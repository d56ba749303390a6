"""Commands that run a network: train, predict. TensorFlow is loaded when one of them starts."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli.console import Mistake, Stopped, assignments, err, out, shape, short, size, table
from kcnn.cli.paper import Changes, Input, Options, _examples


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn train googlenet.bn --data digits --input 64x64x1 --epochs 8",
            "kcnn train mobilenet_v2 --data photos/ --input 160x160 --set width=0.5",
            "kcnn train convnet --data tfds:fashion_mnist --epochs 2 --learning-rate 2e-3",
        )
    )(train)
    app.command(
        epilog=_examples(
            "kcnn predict runs/googlenet.bn photo.jpg other.png", "kcnn predict resnet50.torchvision photo.jpg"
        )
    )(predict)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what TensorFlow's libraries print while they start off the screen; show it after an error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        screen = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(screen, held.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def start() -> None:
    """Load Keras and its backend without their chatter.

    oneDNN's kernels are switched on: TensorFlow does so by itself only on processors with AVX-512,
    and on others they train GoogLeNet about 1.4 times as fast (benchmarks/speed.py onednn).
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with quiet():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            tf.config.list_physical_devices()
            tf.constant(0)  # the devices print when they are first used


def train(
    name: Annotated[str, typer.Argument(help='A network, or a variant: "googlenet.bn".')],
    data: Annotated[str, typer.Option("--data", "-d", help='"digits", "tfds:NAME", or a folder of class folders.')],
    epochs: Annotated[int, typer.Option("--epochs", "-e", min=1, help="Times through the training images.")] = 10,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/NAME by default.")] = None,
    input: Input = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images a step.")] = 32,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "-l", help="Adam's, at its highest.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Fixes initial weights, splits and order.")] = 0,
    aux: Annotated[bool, typer.Option("--aux", help="With the network's auxiliary classifiers.")] = False,
    set: Options = None,
    change: Changes = None,
) -> None:
    """Train a network on pictures, test it once, and leave model and pictures in a folder.

    Stopped with Ctrl-C or killed, the same command goes on after the last whole epoch.
    """
    folder = to or Path("runs") / name
    options, changes = assignments(set or [], "option"), assignments(change or [], "change")
    wanted = shape(input) if input else None
    drawing = kcnn.draw(name, input_shape=wanted, changes=changes, aux=aux, **options)  # mistakes, before the wait
    if wanted is None and data == "digits":
        wanted = (*drawing.image.shape[:2], 1)  # type: ignore[assignment]
    out.print(f"[bold]{name}[/] on [bold]{data}[/] into {folder}")
    with err.status("loading TensorFlow"):
        start()
        from kcnn.cli.progress import EpochBars
        from kcnn.training import train as run
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as bars:
        reading = bars.add_task("reading", total=None)

        def progress(before: int, total: int, done: int) -> None:
            bars.update(reading, total=total, completed=before + done, visible=before + done < total)

        try:
            found = run(
                name,
                data,
                out=folder,
                epochs=epochs,
                input_shape=wanted,
                batch_size=batch_size,
                learning_rate=learning_rate,
                seed=seed,
                aux=aux,
                changes=changes,
                options=options,
                callbacks=[EpochBars(bars, epochs)],
                progress=progress,
            )
        except KeyboardInterrupt:
            bars.stop()
            raise Stopped(f"stopped; the same command goes on after the last whole epoch in {folder}") from None
    _report(found)


def _report(found: Any) -> None:
    metrics = found.metrics
    if found.resumed:
        out.print(f"{found.resumed} epochs were there already")
    rows = (
        (name, f"{row['precision']:.3f}", f"{row['recall']:.3f}", str(row["images"]))
        for name, row in metrics["per_class"].items()
    )
    out.print(table(("class", "precision", "recall", "images"), rows, left=("class",)))
    out.print(
        f"\n[bold]test accuracy {metrics['accuracy']:.2%}[/] ({metrics['correct']} of {metrics['test_images']}), "
        f"validation {metrics['validation_accuracy']:.2%}; {short(metrics['params'])} parameters, "
        f"{short(metrics['macs'])} MACs an image of {size(metrics['request']['input_shape'])}; "
        f"trained in {metrics['training_seconds']:.0f} s"
    )
    for said in metrics["notes"]:
        out.print(said, style="yellow", markup=False)
    for word, what in (("skipped", "files could not be decoded"), ("repeated", "pictures stand in two splits")):
        if metrics[word]:
            out.print(f"[yellow]{metrics[word]} {what}: see {found.folder / word}.csv[/]")
    out.print(f"model.keras, history.csv, metrics.json, curves.png, confusion.png in [bold]{found.folder}[/]")


def _with_weights(name: str, weights: str, options: dict[str, Any]) -> Any:
    """A network with its published weights, or with a file's; Mistake where they are not of all of it."""
    from kcnn.weights import published

    drawing = kcnn.draw(name, **options)
    published(drawing, weights)  # mistakes, before the wait
    start()
    model = kcnn.build(drawing)
    report = kcnn.load_weights(model, weights)
    if "logits/kernel" not in report.matched:
        raise Mistake(f"{weights} has no classifier for the {drawing.ends['logits'].shape[0]} classes of {name}")
    return model


def predict(
    run: Annotated[str, typer.Argument(help="A run's folder, a .keras file of kcnn's, or a network with weights.")],
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Of a network: published weights by name, or a file.")
    ] = "imagenet",
    set: Options = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each picture.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say which class each picture shows, by a trained model or by a network with published weights."""
    from kcnn.models import read_card

    path = Path(run) / "model.keras" if Path(run).is_dir() else Path(run)
    model = None
    if path.exists():
        if set or weights != "imagenet":
            raise Mistake(f"{path} has its options and weights already; --set and --weights are for a network by name")
        card = read_card(path)
    elif len(path.parts) > 1 or (path.suffix == ".keras" and run.partition(".")[0] not in kcnn.names()):
        raise Mistake(f"there is no file {path}")
    else:
        model = _with_weights(run, weights, assignments(set or [], "option"))
        card = model.card
    if not card["top"] or card["taps"]:
        raise Mistake(f"{path} ends in features, not in classes")
    rows, columns, channels = card["input_shape"]
    if None in (rows, columns):
        raise Mistake(f"{path} has an open input size, so there is none to bring pictures to")
    import numpy as np

    from kcnn.data.images import Undecodable, decode

    seen = card.get("pictures")  # as when the published weights were measured
    how = (
        {"shorter": round(seen["resize"] * rows / seen["crop"]), "interpolation": seen["interpolation"]} if seen else {}
    )
    pixels, whole = [], []
    for image in images:
        try:
            pixels.append(decode(image, (rows, columns, channels), **how))
            whole.append(image)
        except Undecodable as error:
            said = f"{image} cannot be decoded: {error}" if image.exists() else f"there is no file {image}"
            if len(images) == 1:
                raise Mistake(said) from None
            err.print(said, style="yellow", markup=False)
    if not whole:
        raise Mistake("none of these files is a picture")
    start()
    import keras

    model = model or kcnn.load(path)
    scores = keras.ops.softmax(model.predict(np.stack(pixels).astype("float32"), verbose=0))
    probabilities = keras.ops.convert_to_numpy(scores)
    names = card["classes"] if isinstance(card["classes"], list) else [f"class {n}" for n in range(card["classes"])]
    results = {
        str(image): {names[n]: float(row[n]) for n in row.argsort()[::-1][:top]}
        for image, row in zip(whole, probabilities, strict=True)
    }
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        for file, best in results.items():
            said = ", ".join(
                f"[bold]{name}[/] {p:.1%}" if i == 0 else f"{name} {p:.1%}" for i, (name, p) in enumerate(best.items())
            )
            out.print(f"{file}: {said}")
    if len(whole) < len(images):
        raise typer.Exit(1)
