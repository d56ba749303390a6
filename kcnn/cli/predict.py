"""Commands that use a trained network: what pictures show, and how often it is right. Runtimes load when needed."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

import kcnn
from kcnn.cli.backend import silence, start_backend
from kcnn.cli.console import UsageError, err, out, parse_assignments, per_class_table
from kcnn.cli.networks import Options, _examples

Weights = Annotated[str, typer.Option("--weights", "-w", help="Of a network: published weights by name, or a file.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
PUBLISHED = "imagenet"
FILES = (".keras", ".tflite", ".onnx")


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn predict runs/googlenet.bn photo.jpg other.png",
            "kcnn predict phone.tflite photo.jpg --json",
            "kcnn predict resnet50.torchvision photo.jpg",
        )
    )(predict)
    app.command(
        epilog=_examples("kcnn evaluate runs/googlenet.bn", "kcnn evaluate phone.tflite --data photos/ --json")
    )(evaluate)


@dataclass(frozen=True)
class OpenedModel:
    """A classifier: its card, and what loads it and gives pixels (n, rows, columns, channels) to probabilities."""

    name: str
    metadata: Mapping[str, Any]
    load: Callable[[], Callable[[Any], Any]]

    @property
    def classes(self) -> list[str]:
        names = self.metadata["classes"]
        return [str(one) for one in names] if isinstance(names, list) else [f"class {n}" for n in range(names)]

    @property
    def shape(self) -> tuple[int, int, int]:
        rows, columns, channels = self.metadata["input_shape"]
        if None in (rows, columns):
            raise UsageError(f"{self.name} has an open input size, so there is none to bring pictures to")
        return rows, columns, channels


def open_model(what: str, weights: str = PUBLISHED, options: Mapping[str, Any] | None = None) -> OpenedModel:
    """A run's folder, a file that kcnn wrote (.keras, .tflite, .onnx, a SavedModel), or a network with weights."""
    path = Path(what)
    if not path.exists():
        if len(path.parts) > 1 or (path.suffix in FILES and what.partition(".")[0] not in kcnn.list_models()):
            raise UsageError(f"there is no file {path}")
        return _published(what, weights, options or {})
    if options or weights != PUBLISHED:
        raise UsageError(f"{path} has its options and weights already; --set and --weights are for a network by name")
    if path.is_dir() and (path / "model.keras").exists():
        path = path / "model.keras"
    if path.is_dir() or path.suffix in (".tflite", ".onnx") or _exported(path):
        from kcnn.export.runtimes import load_exported

        if path.is_dir() or path.suffix == ".keras":
            start_backend()
        with silence():  # LiteRT tells of its kernels
            served = load_exported(path)
        return OpenedModel(what, served.metadata, lambda: served.run)
    from kcnn.keras_bridge.models import read_metadata

    card = read_metadata(path)
    if not card["spec"].get("top", True) or card["spec"].get("outputs"):
        raise UsageError(f"{path} ends in features, not in classes")

    def load() -> Callable[[Any], Any]:
        start_backend()
        return _probabilities(kcnn.load_model(path), card)

    return OpenedModel(what, card, load)


def _exported(path: Path) -> bool:
    """Whether a .keras file is one for inference, which ends in probabilities."""
    from kcnn.export.runtimes import METADATA

    return zipfile.is_zipfile(path) and METADATA in zipfile.ZipFile(path).namelist()


def _published(name: str, weights: str, options: Mapping[str, Any]) -> OpenedModel:
    """A network with its published weights, or with a file's; Mistake where they are not of all of it."""
    from kcnn.weights import find_published

    drawing = kcnn.trace(name, **options)
    find_published(drawing, weights)  # mistakes, before the wait
    start_backend()
    model = kcnn.build(drawing)
    report = kcnn.load_weights(model, weights)
    if "logits/kernel" not in report.matched:
        raise UsageError(f"{weights} has no classifier for the {drawing.outputs['logits'].shape[0]} classes of {name}")
    return OpenedModel(name, model.metadata, lambda: _probabilities(model, model.metadata))


def _probabilities(model: Any, card: Mapping[str, Any]) -> Callable[[Any], Any]:
    from kcnn.statistics import to_probabilities

    return lambda pixels: to_probabilities(model.predict(pixels.astype("float32"), verbose=0), card)


def predict(
    model: Annotated[str, typer.Argument(help="A run's folder, a .keras, .tflite or .onnx file, or a network.")],
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    weights: Weights = PUBLISHED,
    set: Options = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each picture.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Say which class each picture shows, by a trained model or by a network with published weights.

    Of a model of several labels those that reach their thresholds, and the most likely others.
    """
    found = open_model(model, weights, parse_assignments(set or [], "option"))
    pixels, whole = _decoded(images, found)
    import numpy as np

    from kcnn.statistics import predict_labels

    probabilities = found.load()(np.stack(pixels))
    many = found.metadata.get("multi_label")
    said = predict_labels(probabilities, found.metadata)
    results: dict[str, Any] = {}
    for image, row, answer in zip(whole, probabilities, said, strict=True):
        labels = [found.classes[n] for n in np.flatnonzero(answer)] if many else []
        best = {found.classes[n]: float(row[n]) for n in row.argsort()[::-1][: max(top, len(labels))]}
        results[str(image)] = {"labels": labels, "probabilities": best} if many else best
        if not as_json:
            shown = labels if many else list(best)[:1]
            words = (f"{_bold(name) if name in shown else escape(name)} {p:.1%}" for name, p in best.items())
            none = "no label, most likely " if many and not labels else ""
            out.print(f"{escape(str(image))}: {none}{', '.join(words)}", soft_wrap=True)
    if as_json:
        print(json.dumps(results, indent=1))
    if len(whole) < len(images):
        raise typer.Exit(1)


def _bold(name: str) -> str:
    return f"[bold]{escape(name)}[/]"


def _decoded(images: Sequence[Path], found: OpenedModel) -> tuple[list[Any], list[Path]]:
    """Pixels of the pictures that can be decoded, and their files; the others are named on the way."""
    from kcnn.data.decoding import ImageDecodeError, decode

    shape, seen = found.shape, found.metadata.get("pictures")  # as when the published weights were measured
    how: dict[str, Any] = {}
    if seen:
        how = {"shorter": round(seen["resize"] * shape[0] / seen["crop"]), "interpolation": seen["interpolation"]}
    pixels, whole = [], []
    for image in images:
        try:
            pixels.append(decode(image, shape, **how))
            whole.append(image)
        except ImageDecodeError as error:
            said = f"{image} cannot be decoded: {error}" if image.exists() else f"there is no file {image}"
            if len(images) == 1:
                raise UsageError(said) from None
            err.print(said, style="yellow", markup=False)
    if not whole:
        raise UsageError("none of these files is a picture")
    return pixels, whole


def evaluate(
    model: Annotated[str, typer.Argument(help="A run's folder, a .keras, .tflite or .onnx file, or a network.")],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help='"digits", "tfds:NAME", or a folder; the run\'s by default.')
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    seed: Annotated[int | None, typer.Option(help="By which splits are cut off; the run's, or 0.")] = None,
    weights: Weights = PUBLISHED,
    set: Options = None,
    as_json: AsJson = False,
) -> None:
    """Run a model on every image of a split: accuracy, and precision and recall of each class.

    Of a model of several labels also average precisions.
    """
    from kcnn.training.run_directory import read_config

    if split not in ("train", "validation", "test"):
        raise UsageError(f"a split is train, validation or test, not {split!r}")
    request = (read_config(Path(model)) or {}).get("request", {}) if Path(model).is_dir() else {}
    source = data or request.get("data")
    if source is None:
        raise UsageError(f"{model} does not say what it learned on; give --data")
    found = open_model(model, weights, parse_assignments(set or [], "option"))
    from kcnn.data import load

    many = bool(found.metadata.get("multi_label"))
    chosen = _first(seed, request.get("data_seed"), request.get("seed"), 0)
    served = load(source, input_shape=found.shape, seed=chosen, multi_label=many)
    if list(served.classes) != found.classes:
        raise UsageError(
            f"{served.name} has the classes {', '.join(served.classes[:6])}, and the model "
            f"{', '.join(found.classes[:6])}{' …' if len(found.classes) > 6 else ''}"
        )
    from kcnn.data.dataset import EvaluationBatches, FittedBatches

    batches = FittedBatches(EvaluationBatches(served.splits[split], served.batch_size), served.input_shape)
    import numpy as np

    run, parts, truth = found.load(), [], []
    for number in range(len(batches)):
        pixels, labels = batches[number]
        parts.append(run(pixels))
        truth.append(labels)
    _told(found, served, split, np.concatenate(parts), np.concatenate(truth), as_json)


def _first(*values: int | None) -> int:
    return next(one for one in values if one is not None)


def _told(found: OpenedModel, served: Any, split: str, probabilities: Any, truth: Any, as_json: bool) -> None:
    from scipy.stats import binomtest

    from kcnn.statistics import classification_report, is_correct, predict_labels

    said = predict_labels(probabilities, found.metadata)
    correct, images = int(is_correct(said, truth).sum()), len(truth)
    between = binomtest(correct, images).proportion_ci(0.95, "wilson")
    told = {
        "data": served.name,
        "split": split,
        "images": images,
        "accuracy": correct / images,
        "interval": [between.low, between.high],
        **classification_report(said, probabilities, truth, served.classes, found.metadata),
        "skipped": len(served.skipped),
    }
    if as_json:
        print(json.dumps(told, indent=1))
        return
    out.print(per_class_table(told["per_class"]))
    mean = told.get("mean_average_precision")
    first, what = ("", "") if mean is None else (f"mean average precision {mean:.2%}; ", "with every label ")
    out.print(
        f"{found.name}: {first}{correct / images:.2%} of {images} {split} images of {served.name} {what}right "
        f"(95 % interval {between.low:.2%} to {between.high:.2%})"
        + (f"; {len(served.skipped)} files could not be decoded" if served.skipped else ""),
        markup=False,
        soft_wrap=True,
    )
