"""The `kcnn predict` and `kcnn evaluate` commands: a trained model on images. Runtimes load when needed."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

import kcnn
from kcnn.cli.backend import show_device, silence, start_backend
from kcnn.cli.console import UsageError, err, out, parse_assignments, per_class_table
from kcnn.cli.options import DATA, MODEL, OUTPUT, AsJson, ModelOptions, examples
from kcnn.distribute.machine import describe_cpu
from kcnn.graph.formatting import to_printable
from kcnn.graph.names import unknown

PUBLISHED = "imagenet"
RUNTIMES = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}
SUFFIXES = (".keras", *RUNTIMES)
SPLITS = ("train", "validation", "test")
UNRECORDED = (
    "{model} does not record its training images, and some of these may be among them; evaluate the folder of its run, "
    "which does"
)

Model = Annotated[
    str, typer.Argument(help="Folder of a training run; a .keras, .tflite or .onnx file; or a network by name.")
]
PretrainedWeights = Annotated[
    str,
    typer.Option("--weights", "-w", help="Pretrained weights of a network by name, or a file.", rich_help_panel=MODEL),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run a SavedModel with any operations, also those that read and write files.",
        rich_help_panel=MODEL,
    ),
]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "kcnn predict runs/googlenet.bn photo.jpg other.png",
            "kcnn predict phone.tflite photo.jpg --json",
            "kcnn predict resnet50.torchvision photo.jpg",
        )
    )(predict)
    app.command(epilog=examples("kcnn evaluate runs/googlenet.bn", "kcnn evaluate phone.tflite --data photos/ --json"))(
        evaluate
    )


@dataclass(frozen=True)
class OpenedModel:
    """A classifier that is loaded when it is needed.

    Attributes:
        name: As it was given on the command line.
        metadata: Its classes, input_shape and the like.
        load: Loads it, and returns a function from pixels (n, rows, columns, channels) to probabilities (n, classes).
    """

    name: str
    metadata: Mapping[str, Any]
    load: Callable[[], Callable[[Any], Any]]

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes."""
        names = self.metadata["classes"]
        return [str(name) for name in names] if isinstance(names, list) else [f"class {n}" for n in range(names)]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return (rows, columns, channels) of an image.

        Raises:
            UsageError: The input size is open.
        """
        rows, columns, channels = self.metadata["input_shape"]
        if None in (rows, columns):
            raise UsageError(f"{self.name} has an open input size; images cannot be resized to it")
        return rows, columns, channels


def open_model(
    name: str, weights: str = PUBLISHED, options: Mapping[str, Any] | None = None, trust: bool = False
) -> OpenedModel:
    """Open a classifier.

    Args:
        name: Folder of a run; a file that kcnn wrote (.keras, .tflite, .onnx, a SavedModel); or a network.
        weights: Pretrained weights of a network by name, or a file.
        options: The network's own options.
        trust: Whether a SavedModel may have any operation.

    Returns:
        The classifier, with its metadata.

    Raises:
        UsageError: The file is missing, ends in features, or is given with weights or options; or the run is not
            finished.
        ValueError: The file is damaged, or might do more than compute.
        UnknownNameError: There is no such network.
    """
    from kcnn.training.run_directory import CONFIG

    path = Path(name)
    if not path.exists():
        if len(path.parts) > 1 or (path.suffix in SUFFIXES and name.partition(".")[0] not in kcnn.list_models()):
            raise UsageError(f"file not found: {path}")
        return _open_pretrained(name, weights, options or {})
    if options or weights != PUBLISHED:
        raise UsageError(f"--model-option and --weights apply to a network by name; {path} has its own")
    if path.is_dir() and (path / "model.keras").exists():
        path = path / "model.keras"
    if path.is_dir() and (path / CONFIG).exists():  # not taken for a SavedModel, whatever else it holds
        raise UsageError(f"{path} has no model.keras: it holds no finished training run")
    if path.is_dir() or path.suffix in RUNTIMES or is_exported(path):
        from kcnn.export.runtimes import load_exported

        if path.suffix in RUNTIMES:
            err.print(f"device: {describe_cpu(RUNTIMES[path.suffix])}", markup=False, soft_wrap=True)
        else:
            start_backend()
            show_device()
        with silence():  # LiteRT prints its kernels
            exported = load_exported(path, trust=trust)
        return OpenedModel(name, exported.metadata, lambda: exported.run)
    from kcnn.keras_bridge.metadata import has_classes
    from kcnn.keras_bridge.saved_models import read_metadata

    metadata = read_metadata(path)
    if not has_classes(metadata):
        raise UsageError(f"{path} ends in features, not in classes")

    def load() -> Callable[[Any], Any]:
        start_backend()
        show_device()
        return _with_probabilities(kcnn.load_model(path), metadata)

    return OpenedModel(name, metadata, load)


def is_exported(path: Path) -> bool:
    """Return whether a .keras file was exported for inference, and ends in probabilities."""
    from kcnn.export.runtimes import METADATA

    try:
        with zipfile.ZipFile(path) as archive:
            return METADATA in archive.namelist()
    except (OSError, zipfile.BadZipFile):  # told where the file is read
        return False


def _open_pretrained(name: str, weights: str, options: Mapping[str, Any]) -> OpenedModel:
    """A network with pretrained weights, or those of a file."""
    from kcnn.weights import find_published

    graph = kcnn.trace(name, **options)
    find_published(graph, weights)  # raises before Keras is loaded
    start_backend()
    show_device()
    model = kcnn.build(graph)
    report = kcnn.load_weights(model, weights)
    if f"{model.metadata['classifier']}/kernel" not in report.matched:
        raise UsageError(f"{weights} has no classifier for the {graph.outputs['logits'].shape[0]} classes of {name}")
    return OpenedModel(name, model.metadata, lambda: _with_probabilities(model, model.metadata))


def _with_probabilities(model: Any, metadata: Mapping[str, Any]) -> Callable[[Any], Any]:
    from kcnn.training.evaluation import compute_probabilities

    return lambda pixels: compute_probabilities(model, model.predict(pixels.astype("float32"), verbose=0), metadata)


def predict(
    model: Model,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    weights: PretrainedWeights = PUBLISHED,
    model_option: ModelOptions = None,
    trust: Trust = False,
    top: Annotated[
        int, typer.Option(min=1, help="Most probable classes to list for each image.", rich_help_panel=OUTPUT)
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Predict the classes of images with a trained model, or with a network's pretrained weights.

    A multi-label model lists the labels that reach their thresholds, then the most probable others.
    """
    opened = open_model(model, weights, parse_assignments(model_option, "--model-option"), trust)
    pixels, files = decode_images(images, opened)
    import numpy as np

    from kcnn.statistics import predict_labels

    probabilities = opened.load()(np.stack(pixels))
    multi_label = opened.metadata.get("multi_label")
    predictions = predict_labels(probabilities, opened.metadata)
    results: dict[str, Any] = {}
    for file, row, prediction in zip(files, probabilities, predictions, strict=True):
        labels = [opened.classes[n] for n in np.flatnonzero(prediction)] if multi_label else []
        best = {opened.classes[n]: float(row[n]) for n in row.argsort()[::-1][: max(top, len(labels))]}
        results[str(file)] = {"labels": labels, "probabilities": best} if multi_label else best
        if not as_json:
            predicted = labels if multi_label else list(best)[:1]
            texts = ((name, "bold" if name in predicted else "", f" {p:.1%}") for name, p in best.items())
            parts = Text(", ").join(Text.assemble((name, style), share) for name, style, share in texts)
            prefix = "no label; most probable " if multi_label and not labels else ""
            out.print(Text.assemble(f"{to_printable(str(file))}: {prefix}", parts), soft_wrap=True)
    if as_json:
        print(json.dumps(results, indent=1))
    if len(files) < len(images):
        raise typer.Exit(1)


def decode_images(images: Sequence[Path], opened: OpenedModel) -> tuple[list[Any], list[Path]]:
    """Decode the images that can be decoded; name the others on stderr.

    Returns:
        Pixels (rows, columns, channels) as the model takes them, and their files.

    Raises:
        UsageError: No image can be decoded.
    """
    from kcnn.data.decoding import ImageDecodeError, decode

    shape, preprocessing = opened.input_shape, opened.metadata.get("preprocessing")
    options: dict[str, Any] = {}
    if preprocessing:  # as the published weights were evaluated
        options = {
            "resize_shorter_to": round(preprocessing["resize"] * shape[0] / preprocessing["crop"]),
            "interpolation": preprocessing["interpolation"],
        }
    pixels, files = [], []
    for image in images:
        try:
            pixels.append(decode(image, shape, **options))
            files.append(image)
        except ImageDecodeError as error:
            message = str(error) if image.exists() else to_printable(f"file not found: {image}")
            if len(images) == 1:
                raise UsageError(message) from None
            err.print(message, style="yellow")
    if not files:
        raise UsageError("none of the files is an image that can be decoded")
    return pixels, files


def evaluate(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help='"digits", "tfds:NAME", a folder of class folders, or a CSV; by default that of the run. '
            "Images of other data that the run was trained on are left out.",
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.", rich_help_panel=DATA)] = "test",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the split for a model without a run, or 0; a run has its own.", rich_help_panel=DATA
        ),
    ] = None,
    weights: PretrainedWeights = PUBLISHED,
    model_option: ModelOptions = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on a split: accuracy with its 95% interval, and precision and recall of each class.

    For a multi-label model also average precision.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    opened = open_model(model, weights, parse_assignments(model_option, "--model-option"), trust)
    from kcnn.training.run_data import find_run, load_evaluation_data

    run = find_run(model) if Path(model).exists() else None
    if run is not None:
        evaluated = load_evaluation_data(run, data, split)
        notes = evaluated.notes
        if seed is not None:
            notes.append(f"--seed {seed} is not used: {run} records which images are in its {split} split")
    elif data is None:
        raise UsageError(f"missing option --data: {model} does not record its dataset")
    else:
        evaluated = _load_other(opened, data, split, seed or 0)
        notes = [UNRECORDED.format(model=model)] if Path(model).exists() else []
    for note in notes:
        err.print(note, style="yellow", markup=False, soft_wrap=True)
    from kcnn.data.dataset import EvaluationBatches, ResizedBatches

    dataset = evaluated.dataset
    batches = ResizedBatches(EvaluationBatches(dataset.splits[evaluated.split], dataset.batch_size), opened.input_shape)
    import numpy as np

    predict, probabilities, labels = opened.load(), [], []
    for number in range(len(batches)):
        pixels, batch_labels = batches[number]
        probabilities.append(predict(pixels))
        labels.append(batch_labels)
    if not labels:
        raise UsageError(f"no image of the {split} split of {dataset.name} can be decoded")
    _print_evaluation(opened, evaluated, np.concatenate(probabilities), np.concatenate(labels), as_json)


def _load_other(opened: OpenedModel, source: str, split: str, seed: int) -> Any:
    """The data for a model that is not in the folder of a run."""
    from kcnn.data import load
    from kcnn.training.run_data import RunData, check_classes

    dataset = load(
        source, input_shape=opened.input_shape, seed=seed, multi_label=bool(opened.metadata.get("multi_label"))
    )
    check_classes(dataset, opened.classes)
    return RunData(dataset, split)


def _print_evaluation(opened: OpenedModel, evaluated: Any, probabilities: Any, labels: Any, as_json: bool) -> None:
    from dataclasses import asdict

    from kcnn.statistics import (
        classification_report,
        format_mean_precision,
        is_correct,
        predict_labels,
        wilson_interval,
    )

    dataset, split = evaluated.dataset, evaluated.split
    predictions = predict_labels(probabilities, opened.metadata)
    correct, images = int(is_correct(predictions, labels).sum()), len(labels)
    low, high = wilson_interval(correct, images)
    metrics = {
        "data": dataset.name,
        "split": split,
        "images": images,
        "accuracy": correct / images,
        "interval": [low, high],
        **classification_report(predictions, probabilities, labels, dataset.classes, opened.metadata),
        "skipped": len(dataset.skipped),
        "left_out": dict(evaluated.left_out),
        "unmatched": evaluated.unmatched,
        "differences": asdict(evaluated.differences),
    }
    if as_json:
        print(json.dumps(metrics, indent=1))
        return
    out.print(per_class_table(metrics["per_class"]))
    is_multi_label = "mean_average_precision" in metrics
    measure = (
        f"mean average precision {format_mean_precision(metrics)}, subset accuracy" if is_multi_label else "accuracy"
    )
    skipped = f"; {len(dataset.skipped)} files could not be decoded" if dataset.skipped else ""
    out.print(
        f"{opened.name}: {measure} {correct / images:.2%} ({correct} of {images} {split} images of {dataset.name}, "
        f"95% interval {low:.2%} to {high:.2%}){skipped}",
        soft_wrap=True,
    )
