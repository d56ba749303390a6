"""Options that several commands have, and how their values are read."""

from typing import Annotated

import typer

import kcnn
from kcnn.cli.console import UsageError

# Groups of options in --help: `rich_help_panel=` of every typer.Option.
MODEL, DATA, TRAINING, HARDWARE, OUTPUT = "Model", "Data", "Training", "Hardware", "Output"


def complete_network(incomplete: str) -> list[str]:
    """Return the networks whose names begin with what was typed, for the completion of a shell."""
    return [name for name in kcnn.list_models() if name.startswith(incomplete)]


Network = Annotated[
    str,
    typer.Argument(
        help='A network, or a variant: "googlenet.bn"; or one of a Python file: "my_net.py:net".',
        autocompletion=complete_network,
    ),
]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="SIZE",
        help="Image size: 224, 224x192 or 224x192x1 (rows x columns x channels; those of the network by default).",
        rich_help_panel=MODEL,
    ),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--model-option",
        metavar="OPTION=VALUE",
        help="Set an option of the network, such as width=0.5; may be repeated.",
        rich_help_panel=MODEL,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        metavar="LAYER.ATTRIBUTE=VALUE",
        help="Override an attribute of layers by address, such as stem.kernel=5; may be repeated.",
        rich_help_panel=MODEL,
    ),
]
AuxHeads = Annotated[
    bool, typer.Option("--aux-heads", help="Add the network's auxiliary classifiers.", rich_help_panel=MODEL)
]
STRATEGIES = "auto|single|mirrored|multiworker"  # checked by TrainConfig, whose message suggests the closest
MultiLabel = Annotated[
    bool,
    typer.Option(
        "--multi-label",
        help="Any number of labels per image: from a CSV, or a file name in several class folders.",
        rich_help_panel=DATA,
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-r",
        help='Training hyperparameters: "auto" (from the data), "quick", "paper" (ResNet on CIFAR-10) or "strong".',
        rich_help_panel=TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", min=1, help="Images per step, over all devices.", rich_help_panel=TRAINING),
]
Folds = Annotated[
    int | None,
    typer.Option(
        "--folds",
        min=2,
        help="Cross-validation: the score is the mean over this number of folds of all images but those for testing.",
        rich_help_panel=TRAINING,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", "--lr", help="Peak of the learning-rate schedule.", rich_help_panel=TRAINING),
]
RecipeOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe-option",
        metavar="OPTION=VALUE",
        help="Set another option of the recipe, such as optimizer=sgd, weight_decay=0.05, label_smoothing=0.1, "
        "patience=10 (early stopping), ema_momentum=0.999, or of data augmentation, such as flip=false; may be "
        "repeated.",
        rich_help_panel=TRAINING,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        "-p",
        metavar="auto|float32|mixed_float16|mixed_bfloat16",
        help="Mixed precision, or float32.",
        rich_help_panel=HARDWARE,
    ),
]
StrategyOption = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar=STRATEGIES,
        help="One device, all GPUs, or several machines.",
        rich_help_panel=HARDWARE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)]


def examples(*lines: str) -> str:
    """Return command lines as the epilog of a command's help."""
    return "[bold]Examples[/]\n\n" + "\n\n".join(f"  {line.replace('[', chr(92) + '[')}" for line in lines)


def parse_input_size(text: str | None, network: str) -> tuple[int, int, int] | None:
    """Parse the value of --input-size.

    Args:
        text: A side ("224"), rows x columns ("224x192"), or rows x columns x channels ("224x192x1").
        network: The network whose number of channels is taken where the text has none.

    Returns:
        (rows, columns, channels); None for no text.

    Raises:
        UsageError: The text is not an image size.
        UnknownNameError: There is no such network.
    """
    if not text:
        return None
    try:
        sizes = [int(size) for size in text.lower().split("x")]
    except ValueError:
        sizes = []
    if not 1 <= len(sizes) <= 3 or min(sizes) < 1:
        raise UsageError(f"invalid --input-size {text!r}; write 224, 224x192 or 224x192x1 (rows x columns x channels)")
    rows, columns = sizes[0], sizes[min(1, len(sizes) - 1)]
    channels = sizes[2] if len(sizes) == 3 else kcnn.get_architecture(network).input_shape[2]
    return rows, columns, channels


def choose_input_shape(text: str | None, network: str, data: str | None) -> tuple[int, int, int] | None:
    """Choose the input shape of a network for a dataset.

    Args:
        text: The value of --input-size.
        network: Name of the network.
        data: The value of --data.

    Returns:
        (rows, columns, channels): that of --input-size; without it one gray channel for digits, at the network's own
        size; else None, the network's own.

    Raises:
        UsageError: The text is not an image size.
        UnknownNameError: There is no such network.
    """
    if text or not is_digits(data):
        return parse_input_size(text, network)
    rows, columns, _ = kcnn.get_architecture(network).input_shape
    return rows, columns, 1


def is_digits(data: str | None) -> bool:
    """Return whether a dataset is scikit-learn's digits, or a range of them such as "digits:0-4"."""
    return (data or "").partition(":")[0] == "digits"
