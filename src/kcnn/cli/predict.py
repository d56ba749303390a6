"""The `kcnn predict` and `kcnn evaluate` commands: a trained model on images. Runtimes load when needed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import kcnn
from kcnn.cli.backend import show_device, silence, start_backend
from kcnn.cli.console import UsageError, err, out, parse_assignments, per_class_table, show_loading, show_note
from kcnn.cli.options import DATA, MODEL, OUTPUT, AsJson, ModelOptions, examples
from kcnn.distribute.machine import describe_cpu
from kcnn.graph.names import unknown
from kcnn.run_folders import find_run, locate_model

if TYPE_CHECKING:
    from kcnn.export.opened_model import OnClasses, OpenedModel

PUBLISHED = "imagenet"
SPLITS = ("train", "validation", "test")

Model = Annotated[
    str,
    typer.Argument(
        help="Folder of a run, a transfer or a search; a .keras, .tflite or .onnx file; or a network by name."
    ),
]
PretrainedWeights = Annotated[
    str,
    typer.Option("--weights", "-w", help="Pretrained weights of a network by name, or a file.", rich_help_panel=MODEL),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Open a file that was changed after its export, or a SavedModel that might read and write files.",
        rich_help_panel=MODEL,
    ),
]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "kcnn predict runs/googlenet.bn photo.jpg other.png",
            "kcnn predict runs/googlenet.bn photos/ --csv predictions.csv",
            "kcnn predict runs/googlenet.bn photos/ --threshold 0.8 --sort-into sorted/",
            "kcnn predict phone.tflite photo.jpg --json",
            "kcnn predict resnet50.torchvision photo.jpg",
        )
    )(predict)
    app.command(epilog=examples("kcnn evaluate runs/googlenet.bn", "kcnn evaluate phone.tflite --data photos/ --json"))(
        evaluate
    )


def open_quietly(
    name: str,
    weights: str = PUBLISHED,
    options: Mapping[str, Any] | None = None,
    trust: bool = False,
    on_classes: "OnClasses | None" = None,
) -> "OpenedModel":
    """Open a classifier as kcnn.export.opened_model does; show what is loaded and the device; silence the runtimes."""
    if Path(name).exists():
        path, note = locate_model(name)
        show_note(note)
        show_loading(path)
    elif _is_network(name):
        show_loading(name if "://" in name else f"{name} with weights {weights}")  # one of the Hub has its own
    from kcnn.export.opened_model import open_model

    return open_model(name, weights, options, trust=trust, starting=_start, on_classes=on_classes)


def _is_network(name: str) -> bool:
    from kcnn.weights.hub_files import is_hub_address

    return is_hub_address(name) or name.partition(".")[0] in kcnn.list_models()


def _records_no_data(model: str) -> bool:
    """Whether there is such a model, and it is not of a run."""
    return find_run(locate_model(model)[0]) is None if Path(model).exists() else _is_network(model)


@contextmanager
def _start(runtime: str) -> Iterator[None]:
    if runtime == "Keras":
        start_backend()
        show_device()
        yield
    else:
        err.print(f"device: {describe_cpu(runtime)}", markup=False, soft_wrap=True)
        with silence():  # LiteRT prints its kernels
            yield


def predict(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders (all images below), globs in quotes; - reads names, one a line."),
    ],
    weights: PretrainedWeights = PUBLISHED,
    model_option: ModelOptions = None,
    trust: Trust = False,
    top: Annotated[
        int, typer.Option(min=1, help="Most probable classes to list for each image.", rich_help_panel=OUTPUT)
    ] = 3,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability below which an image is unsure.", rich_help_panel=OUTPUT),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Write file, label and all probabilities to a CSV file.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: AsJson = False,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print a line of JSON for each image.", rich_help_panel=OUTPUT)
    ] = False,
    sort_into: Annotated[
        Path | None,
        typer.Option(
            "--sort-into",
            metavar="FOLDER",
            help='Copy each image into a folder of its class, and those below the threshold into "unsure".',
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="With --sort-into, make links in place of copies.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Predict the classes of images with a trained model, or with a network's pretrained weights.

    A multi-label model lists the labels that reach their thresholds, and then, in brackets, the most probable others.
    Images that cannot be read are named and left out; the exit code is then 1.
    """
    if as_json and as_jsonl:
        raise UsageError("--json and --jsonl exclude each other; choose one")
    if link and not sort_into:
        raise UsageError("--link requires --sort-into")
    if sort_into and sort_into.exists() and not sort_into.is_dir():
        raise UsageError(f"--sort-into {sort_into} is a file; expected a folder")
    from kcnn.cli.prediction_output import PredictionOutput, ReadErrors, list_images

    errors = ReadErrors(is_single=len(images) == 1 and images[0] != "-")
    opened = open_quietly(model, weights, parse_assignments(model_option, "--model-option"), trust)
    sources, total = list_images(images, sort_into, errors)
    output = PredictionOutput(
        csv=csv, as_json=as_json, as_jsonl=as_jsonl, sort_into=sort_into, link=link, classes=opened.classes
    )
    if sort_into and opened.metadata.get("multi_label"):
        raise UsageError(f"--sort-into expects a model with one label per image; {model} gives any number")
    from kcnn.export.prediction import predict_batches

    batches = predict_batches(opened, sources, top=top, threshold=threshold, on_error=errors.add)
    with output.write(total) as write:
        for batch in batches:
            write(batch.predictions)
        if not output.count:
            raise UsageError("none of the files is an image that can be decoded")
    output.print_summary()
    if errors.count:
        read = errors.count + output.count
        err.print(f"{errors.count} of {read} images could not be read, and are left out", style="yellow")
        raise typer.Exit(1)


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

    For a multi-label model also average precision. Images are resized and cropped as by kcnn predict.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if data is None and _records_no_data(model):
        raise UsageError(f"missing option --data: {model} does not record its dataset")
    from kcnn.export.evaluation import check_data_classes
    from kcnn.export.evaluation import evaluate as run

    options = parse_assignments(model_option, "--model-option")
    opened = open_quietly(model, weights, options, trust, lambda classes: check_data_classes(data, classes))
    result = run(replace(opened, note=""), data, split, seed=seed, log=show_note)
    if as_json:
        print(json.dumps(result.metrics, indent=1))
        return
    out.print(per_class_table(result.metrics["per_class"]))
    out.print(result.summary, soft_wrap=True)
