"""The `kcnn choose` command: rank pretrained networks for a dataset. TensorFlow is loaded when it starts."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import kcnn
from kcnn.cli.backend import show_device, start_backend
from kcnn.cli.console import (
    UsageError,
    err,
    out,
    parse_assignments,
    parse_count,
    resume_hint,
    show_loading,
    show_spinner,
)
from kcnn.cli.options import DATA, MODEL, OUTPUT, AsJson, InputSize, examples, is_digits, parse_input_size
from kcnn.distribute.cluster import START_ONCE, require_one_process

ASSIGNMENT = re.compile(r"(?P<network>[^=,]+)(?P<options>(?:,\w+=(?:\[[^\]]*\]|[^=,]+))*)=(?P<file>.+)")
OPTION = re.compile(r",(\w+=(?:\[[^\]]*\]|[^=,]+))")


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "kcnn choose --data photos/ --max-params 5M",
            "kcnn choose --data photos/ --weights mobilenet_v1,width=0.25=mobilenet.h5",
        )
    )(choose)


def choose(
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help='A folder of class folders, "digits", "tfds:NAME", or a CSV.', rich_help_panel=DATA
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="NETWORK=FILE",
            help="Weights of a network: a file, the folder of a run, or a name such as imagenet; with options of the "
            "network: mobilenet_v1,width=0.25=FILE; or an address such as hf://timm/resnet18.a1_in1k; may be repeated. "
            "Weights in the cache are ranked without it.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(help="Maximum number of trainable parameters, such as 5M.", rich_help_panel=MODEL)
    ] = None,
    max_macs: Annotated[
        str | None,
        typer.Option(help="Maximum number of multiply-accumulates for one image, such as 1G.", rich_help_panel=MODEL),
    ] = None,
    input_size: InputSize = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Download weights that are not in the cache: those of --weights, or without it all published ones.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Output folder; it keeps the features.", rich_help_panel=OUTPUT)
    ] = Path("runs/choose"),
    as_json: AsJson = False,
) -> None:
    """Rank pretrained networks for your images, and print the command that fine-tunes the best.

    Networks whose published weights are in the cache of kcnn or of the Hugging Face Hub, or given with --weights, are
    ranked by a linear probe: logistic regression on the features of the frozen network. Nothing is downloaded unless
    --download is given. A network whose download fails is left out, and the exit code is then 1. The test split is not
    used. Interrupted, the same command resumes from the features that are computed.
    """
    specs = [parse_candidate(text, input_size) for text in weights or ()]
    limits = [parse_count(text) if text else None for text in (max_params, max_macs)]
    require_one_process("a choice of networks", START_ONCE)
    show_loading(data)
    from kcnn.data.sources import check_source
    from kcnn.weights.published import check_weights_file

    check_source(data)
    for spec in specs:
        check_weights_file(str(spec.weights))
    with show_spinner("loading Keras"):
        start_backend()
        from kcnn.data import load
        from kcnn.fine_tuning import choose as rank_networks
        from kcnn.fine_tuning.choice import SIDE
        from kcnn.training.progress import describe_data
    show_device()

    def log(text: str) -> None:
        err.print(text, soft_wrap=True)

    dataset = load(data, input_shape=(SIDE, SIDE, 1 if is_digits(data) else 3))
    for line in describe_data(dataset):
        log(line)
    with resume_hint(folder):
        choice = rank_networks(
            dataset, specs, max_params=limits[0], max_macs=limits[1], download=download, out=folder, log=log
        )
    if as_json:
        print(json.dumps(choice.to_json(), indent=1))
    else:
        out.print(str(choice), soft_wrap=True)
    if choice.failures:
        count = len(choice.failures) + len(choice.results)
        err.print(
            f"{len(choice.failures)} of {count} networks not ranked: weights could not be downloaded", style="yellow"
        )
        raise typer.Exit(1)


def parse_candidate(text: str, input_size: str | None) -> kcnn.ModelSpec:
    """Return the network of a value of --weights.

    Args:
        text: NETWORK=FILE, or with options of the network NETWORK,OPTION=VALUE=FILE; or an address on the Hub.
        input_size: The value of --input-size.

    Raises:
        UsageError: The text is none of them.
        DownloadError: The Hub cannot be reached, or has no such checkpoint.
    """
    from kcnn.weights.hub_files import is_hub_address
    from kcnn.weights.published import resolve_spec

    if is_hub_address(text):
        spec = resolve_spec(text)
        shape = parse_input_size(input_size, str(spec.network))
        return replace(spec, input_shape=shape) if shape else spec
    match = ASSIGNMENT.fullmatch(text)
    if not match:
        raise UsageError(
            "--weights expects NETWORK=FILE, with options NETWORK,OPTION=VALUE=FILE, or an address such as "
            f"hf://timm/resnet18.a1_in1k, got {text!r}"
        )
    options: Sequence[str] = OPTION.findall(match["options"])
    spec = kcnn.ModelSpec(
        network=match["network"], options=parse_assignments(options, "--weights"), weights=match["file"]
    )
    shape = parse_input_size(input_size, str(spec.network))
    return replace(spec, input_shape=shape) if shape else spec
