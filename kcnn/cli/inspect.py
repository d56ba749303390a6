"""The command that looks inside a trained network. Keras loads when needed."""

import json
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

import kcnn
from kcnn.cli.backend import start_backend
from kcnn.cli.console import UsageError, out
from kcnn.cli.networks import _examples
from kcnn.cli.predict import OpenedModel, _decoded, _exported


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn inspect runs/demo digit.png",
            "kcnn inspect runs/demo/best.keras digit.png --layer 'inception_4{a,e}_*' --out look/",
        )
    )(inspect)


def inspect(
    run: Annotated[str, typer.Argument(help="A run's folder, or a .keras file, of any Keras model.")],
    image: Annotated[Path, typer.Argument(help="A picture file.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="Layers whose activations are drawn, by glob.")] = "*",
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the pictures; inspect/IMAGE beside the model.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to name, and to draw Grad-CAM of.")] = 3,
) -> None:
    """Look inside a trained network: its answer, where in a picture it finds it, its filters and activations.

    Writes grad_cam.png, occlusion.png, filters.png and activations.png.
    """
    path = _file(run)
    folder = to or path.parent / "inspect" / image.stem
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, and pictures go into a folder")
    model, card = _model(path)
    found = OpenedModel(run, card, lambda: model)
    pixels = _decoded([image], found)[0][0]

    import numpy as np

    from kcnn.explain import images, model_access
    from kcnn.statistics import to_probabilities

    scores = np.asarray(model.predict_on_batch(pixels[None].astype("float32")), "float64")
    likely = (
        scores if model_access.output_activation(model_access.find_output(model)) else to_probabilities(scores, card)
    )[0]
    best = likely.argsort()[::-1][:top]
    said = [(int(n), f"{found.classes[n]} {likely[n]:.1%}") for n in best]
    model_access.match_layers(model, layer)  # a mistake, before the answer
    out.print(f"{escape(str(image))}: {escape(', '.join(text for _, text in said))}", soft_wrap=True)
    written = images.write_explanations(model, pixels.astype("float32"), said, folder, layer)
    out.print(f"{', '.join(one.name for one in written)} in {folder}", markup=False, soft_wrap=True)


def _file(run: str) -> Path:
    path = Path(run)
    if not path.exists():
        raise UsageError(f"there is no file {path}; give a run's folder, or a .keras file")
    if path.is_dir() and (path / "model.keras").exists():
        path = path / "model.keras"
    if path.is_dir():
        raise UsageError(f"{path} holds no model.keras: no training has ended there")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is no .keras file; what runs elsewhere cannot be looked into")
    return path


def _model(path: Path) -> tuple[Any, dict[str, Any]]:
    """The Keras model in a file, and its card; one of its own making where the file has none."""
    from kcnn.export.runtimes import METADATA

    exported = _exported(path)
    try:
        with zipfile.ZipFile(path) as archive:
            said = (
                archive.read(METADATA)
                if exported
                else json.loads(archive.read("config.json"))["config"].get("metadata")
            )
            card = json.loads(said or "{}")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no Keras model, or is damaged: {error}") from None
    if not card.get("spec", {}).get("top", True) or card.get("spec", {}).get("outputs"):
        raise UsageError(f"{path} ends in features, not in classes")
    start_backend()
    import keras

    from kcnn.explain import model_access

    try:
        model = kcnn.load_model(path) if card and not exported else keras.saving.load_model(path, compile=False)
    except (OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be loaded: {' '.join(str(error).split())}") from None
    end, image = model_access.find_output(model), model_access.find_image_input(model)
    return model, {"classes": end.shape[-1], "input_shape": list(image.shape[1:]), **card}
