"""The `kcnn inspect` command: plots of the inside of a trained network. Keras loads when needed."""

import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.atomic_io import parse_json
from kcnn.cli.backend import start_backend
from kcnn.cli.console import UsageError, out, show_loading, show_note
from kcnn.cli.options import MODEL, OUTPUT, examples
from kcnn.graph.formatting import to_printable
from kcnn.run_folders import resolve_model


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "kcnn inspect runs/demo digit.png",
            "kcnn inspect runs/demo/model.keras digit.png --layer 'inception_4{a,e}_*' --out look/",
        )
    )(inspect)


def inspect(
    run: Annotated[
        str, typer.Argument(help="Folder of a run, a transfer or a search; or a .keras file of any Keras model.")
    ],
    image: Annotated[Path, typer.Argument(help="Image file.")],
    layer: Annotated[
        str,
        typer.Option("--layer", "-l", help="Layers whose activations are plotted, by glob.", rich_help_panel=MODEL),
    ] = "*",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Output folder; inspect/IMAGE beside the model by default.", rich_help_panel=OUTPUT
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, help="Most probable classes to list, with a Grad-CAM each.", rich_help_panel=OUTPUT)
    ] = 3,
) -> None:
    """Explain a prediction: Grad-CAM and occlusion heatmaps, filters and activations of a trained network.

    Writes grad_cam.png, occlusion.png, filters.png and activations.png.
    """
    path = _find_file(run)
    target = folder or path.parent / "inspect" / image.stem
    if target.exists() and not target.is_dir():
        raise UsageError(f"--out {target} is a file; expected a folder")
    model, metadata = _load(path)
    from kcnn.data.decoding import ImageDecodeError
    from kcnn.export.opened_model import OpenedModel, prepare_image

    opened = OpenedModel(run, metadata, lambda: model)
    try:
        pixels = prepare_image(image, opened)
    except ImageDecodeError as error:
        raise UsageError(str(error) if image.exists() else to_printable(f"file not found: {image}")) from None

    from kcnn.explain import model_access, plots
    from kcnn.keras_bridge.probabilities import compute_probabilities

    scores = model.predict_on_batch(pixels[None].astype("float32"))
    probabilities = compute_probabilities(model, scores, metadata)[0]
    best = probabilities.argsort()[::-1][:top]
    titles = [(int(n), f"{opened.classes[n]} {probabilities[n]:.1%}") for n in best]
    if model.outputs[0].shape[-1] == 1:  # which is the evidence of the second of two classes
        titles = [(0, f"{opened.classes[-1]} {probabilities[-1]:.1%}")]
    model_access.match_layers(model, layer)  # an unknown name, before anything is printed
    out.print(f"{image}: {', '.join(title for _, title in titles)}", soft_wrap=True)
    written = plots.write_explanations(model, pixels.astype("float32"), titles, target, layer)
    out.print(f"{', '.join(file.name for file in written)} in {target}", soft_wrap=True)


def _find_file(run: str) -> Path:
    path = Path(run)
    if not path.exists():
        raise UsageError(f"file not found: {path}; expected the folder of a run, or a .keras file")
    path, note = resolve_model(path)
    show_note(note)
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is not a .keras file; exported files of other formats cannot be inspected")
    return path


def _load(path: Path) -> tuple[Any, dict[str, Any]]:
    """The Keras model in a file, and its metadata; made up where the file has none."""
    from kcnn.export.opened_model import is_exported
    from kcnn.export.runtimes import METADATA
    from kcnn.keras_bridge.metadata import has_classes
    from kcnn.keras_bridge.untrusted_files import check_archive, read_keras_config

    exported = is_exported(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.stat().st_size)
            text = archive.read(METADATA) if exported else read_keras_config(archive)["config"].get("metadata")
            metadata = parse_json(text or "{}")
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is not a Keras model, or is damaged: {error}") from None
    if not has_classes(metadata):
        raise UsageError(f"{path} ends in features, not in classes")
    show_loading(path)
    start_backend()
    from kcnn.explain import model_access
    from kcnn.keras_bridge.saved_models import load_keras_file

    model = kcnn.load_model(path) if metadata and not exported else load_keras_file(path)
    output, image = model_access.find_output(model), model_access.find_image_input(model)
    return model, {"classes": output.shape[-1], "input_shape": list(image.shape[1:]), **metadata}
