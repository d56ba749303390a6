"""The command that says what pictures show. TensorFlow is loaded when it starts."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli.backend import start
from kcnn.cli.console import Mistake, assignments, err, out
from kcnn.cli.paper import Options, _examples


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn predict runs/googlenet.bn photo.jpg other.png", "kcnn predict resnet50.torchvision photo.jpg"
        )
    )(predict)


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
