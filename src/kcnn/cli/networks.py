"""Commands on networks without TensorFlow: list, summary, plot, diff, verify. Only `verify --build` loads Keras."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn import atomic_io
from kcnn.architectures import catalogue, determinism, doctor, registry, source_folder
from kcnn.architectures.catalogue_rows import CatalogueRow, load_rows, make_row, save_rows
from kcnn.architectures.licenses import COMMERCIAL, identify_license
from kcnn.architectures.spec_values import to_json_value
from kcnn.cli.backend import start_backend
from kcnn.cli.console import (
    UsageError,
    err,
    make_table,
    out,
    parse_assignments,
    parse_count,
    show_status,
)
from kcnn.cli.options import (
    MODEL,
    OUTPUT,
    AsJson,
    AuxHeads,
    InputSize,
    ModelOptions,
    Network,
    Overrides,
    complete_network,
    examples,
    parse_input_size,
)
from kcnn.graph.formatting import format_count, format_number, format_size
from kcnn.graph.graph import Graph
from kcnn.graph.names import UnknownNameError, unknown


def add(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(
        "list",
        epilog=examples(
            "kcnn list",
            "kcnn list 'resnet*' --variants --weights",
            "kcnn list --license commercial --max-params 5M",
            "kcnn list --max-params 5M --max-macs 1G --json",
        ),
    )(list_networks)
    app.command(
        epilog=examples(
            "kcnn summary googlenet",
            "kcnn summary resnet50.torchvision --input-size 96x96x1",
            "kcnn summary mobilenet_v2 --model-option width=0.5 --json",
            "kcnn summary resnet18 --override 'stage3_unit1_{a,skip}.stride=1'",
        )
    )(summary)
    app.command(
        epilog=examples(
            "kcnn plot googlenet",
            "kcnn plot resnet50 --svg figures/resnet50.svg --color-by params",
            "kcnn plot mobilenet_v2 --model-option width=0.5 --input-size 96x96x1 --layers --svg -",
        )
    )(plot)
    app.command(epilog=examples("kcnn diff googlenet googlenet.torchvision", "kcnn diff resnet50 resnet50.keras"))(diff)
    app.command(epilog=examples("kcnn verify", "kcnn verify 'resnet*' --build", "kcnn verify --path ."))(verify)


def list_networks(
    pattern: Annotated[str, typer.Argument(help="Names to list; * matches anything.")] = "*",
    max_params: Annotated[
        str | None, typer.Option(help="Maximum number of trainable parameters, such as 5M.", rich_help_panel=MODEL)
    ] = None,
    max_macs: Annotated[
        str | None,
        typer.Option(help="Maximum number of multiply-accumulates for one image, such as 1G.", rich_help_panel=MODEL),
    ] = None,
    min_input: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Only networks that fit a square image of this many pixels a side.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    variants: Annotated[
        bool, typer.Option("--variants", help="Show a row for each variant too.", rich_help_panel=OUTPUT)
    ] = False,
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Show pretrained weights and their cited accuracy.", rich_help_panel=OUTPUT),
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(
            metavar="LICENSE",
            help="Only networks and variants with pretrained weights of this license: an SPDX identifier such as "
            'apache-2.0, or "commercial" for all that are known to permit commercial use.',
            rich_help_panel=MODEL,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the installed networks with their size and cost."""
    variants = variants or "." in pattern or license is not None  # most weights are those of variants
    weights = weights or license is not None
    unfiltered = pattern == "*" and not (max_params or max_macs or min_input or variants or weights)
    remembered = {name: row for name, row in load_rows().items() if registry.is_builtin(name)}
    names = catalogue.expand_names(pattern, variants, {name: row.variants for name, row in remembered.items()})
    if not names:
        raise _no_match(pattern, kcnn.list_models())
    params_limit, macs_limit = (parse_count(text) if text else float("inf") for text in (max_params, max_macs))
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, Any]] = []
    made: dict[str, CatalogueRow] = {}
    licenses: set[str] = set()
    for name in names:
        if unfiltered and not registry.is_builtin(name):  # a plain list runs no code of other distributions
            owners = " and ".join(filter(registry.is_allowed, registry.discover()[name]))
            rows.append((name, *[""] * 6, f"published by {owners}"))
            records.append({"network": name, "published_by": owners})
            continue
        row = remembered.get(name)
        if row is None:
            try:
                if catalogue.load_architecture(name).keras is not None:
                    start_backend()  # without Keras' messages
                row = make_row(name)
            except (Exception, SystemExit) as error:  # a broken plugin hurts only its own name
                err.print(f"{name}: {error}", style="yellow", soft_wrap=True)
                continue
            if registry.is_builtin(name):
                made[name] = row
        if row.params > params_limit or row.macs > macs_limit or (min_input and row.min_input_size > min_input):
            continue
        if license is not None:
            licenses |= {identify_license(one) for one in row.licenses}
            row = row.keep_licensed(license)
            if not row.weights:
                continue
        records.append({key: value for key, value in dataclasses.asdict(row).items() if key != "weights_texts"})
        variant_cells = () if variants else (" ".join(row.variants),)
        rows.append(
            (
                name,
                f"{row.params:,}",
                format_count(row.macs),
                format_size(row.input_shape),
                str(row.min_input_size),
                str(row.receptive_field[0]),
                *variant_cells,
                "; ".join(row.weights_texts) if weights else row.reference,
            )
        )
    if made:
        save_rows({**remembered, **made})
    if license is not None and licenses and not rows:
        raise unknown("license", license, [COMMERCIAL, *sorted(licenses)])
    if not rows:
        raise UsageError(f"none of the {len(names)} networks that match {pattern!r} is within these limits")
    if as_json:
        print(json.dumps(records, indent=1))
        return
    folded = (*(() if variants else ("variants",)), "weights" if weights else "reference")
    columns = ("network", "params", "MACs", "input", "min. input", "receptive field", *folded)
    out.print(make_table(columns, rows, left=("network", *folded), wraps=folded))


def summary(
    network: Network,
    input_size: InputSize = None,
    model_option: ModelOptions = None,
    override: Overrides = None,
    aux_heads: AuxHeads = False,
    as_json: AsJson = False,
) -> None:
    """Show the layers of a network: shapes, parameters, MACs and receptive fields."""
    graph = _trace(network, input_size, model_option, override, aux_heads)
    table = kcnn.summary(graph)
    if as_json:
        print(json.dumps(_to_json(network, graph, table), indent=1))
    else:
        print(table)


def plot(
    network: Network,
    svg: Annotated[
        str | None,
        typer.Option(
            "--svg",
            metavar="FILE",
            help="File to write; - is the terminal. NAME.svg by default.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    input_size: InputSize = None,
    model_option: ModelOptions = None,
    override: Overrides = None,
    color_by: Annotated[
        str, typer.Option("--color-by", help="Quantity that the colors show: macs or params.", rich_help_panel=OUTPUT)
    ] = "macs",
    layers: Annotated[
        bool, typer.Option("--layers", help="Draw a box for each layer.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Plot a network as an SVG figure for a slide or a page."""
    graph = _trace(network, input_size, model_option, override)
    text = kcnn.plots.plot_network(graph, color_by=color_by, layers=layers)
    if svg == "-":
        print(text, end="")
        return
    path = Path(svg or f"{graph.name.replace(':', '_')}.svg")
    if path.is_dir():
        raise UsageError(f"--svg expects a file, got the folder {path}")
    atomic_io.write_text(path, text)
    out.print(f"{path}: {len(kcnn.summary(graph)) - 1} layers", soft_wrap=True)


def diff(
    a: Annotated[str, typer.Argument(help="A network.", autocompletion=complete_network)],
    b: Annotated[str, typer.Argument(help="Another network or variant.", autocompletion=complete_network)],
    input_size: InputSize = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show each layer.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Compare two networks: which layers differ, and what that costs."""
    _load_keras_code(a)
    _load_keras_code(b)
    first, second = (kcnn.trace(name, input_shape=parse_input_size(input_size, name)) for name in (a, b))
    colors = {"+": "green", "-": "red", "~": "yellow"}
    difference = kcnn.diff(first, second)
    for line in (difference.format_layers() if layers else str(difference)).splitlines():
        out.print(line, style=colors.get(line[0]), soft_wrap=True)


def verify(
    pattern: Annotated[str, typer.Argument(help="Networks to verify; * matches anything.")] = "*",
    build: Annotated[bool, typer.Option("--build", help="Build each with Keras too, and compare.")] = False,
    path: Annotated[
        Path | None, typer.Option(help="Source folder of a plugin, to verify its networks before publication.")
    ] = None,
) -> None:
    """Verify what plugins declare about networks and weights; exit with 1 on any discrepancy."""
    if path is None:
        names = catalogue.expand_names(pattern)
        if not names:
            raise _no_match(pattern, kcnn.list_models())
        _verify(names, build)
        return
    with source_folder.simulate_install(path) as (distribution, published):
        problems = list(doctor.check_distribution(distribution, published))
        for problem in problems:
            err.print(f"{distribution}: {problem}", style="yellow", soft_wrap=True)
        owned = [full for name in published for full in catalogue.list_variants(f"{distribution}:{name}")]
        matching = [name for name in owned if fnmatchcase(name, f"*{pattern}*")]
        if not matching:
            raise _no_match(pattern, published, distribution)
        _verify(matching, build, failed=bool(problems))


def _verify(names: Sequence[str], build: bool, failed: bool = False) -> None:
    """Print a row for each network."""
    with show_status(f"verifying {format_number(len(names), 'network')}"):
        rows = [(name, *_verify_network(name, build)) for name in names]
    bad = sum(row[-1] != "ok" for row in rows)
    columns = ("network", "params", "MACs", "receptive field", "min. input", "weights", "result")
    out.print(make_table(columns, rows, left=("network", "result"), wraps=("result",)))
    out.print(f"\n{len(rows) - bad} of {len(rows)} are as declared")
    if bad or failed:
        raise typer.Exit(1)


def _verify_network(name: str, build: bool) -> tuple[str, ...]:
    """The cells of a network: params, MACs, receptive field, minimum input, files of weights, and "ok" or problems."""
    try:
        if catalogue.load_architecture(name).keras is not None:
            start_backend()  # without Keras' messages
        entry = catalogue.make_entry(name)
        problems = list(catalogue.find_discrepancies(entry))
        if not registry.is_own(name):
            problems += determinism.compare_processes([name]).values()
        if build:
            start_backend()
            from kcnn.building import find_build_discrepancies

            problems += find_build_discrepancies(name, entry.summary, bool(entry.architecture.keras))
    except (Exception, SystemExit) as error:  # a plugin that is broken in any way is a row of its own
        return *[""] * 5, str(error) or type(error).__name__
    files = len(entry.architecture.weights)
    return (
        f"{entry.summary.params:,}",
        format_count(entry.summary.macs),
        str(entry.summary.receptive_field[0]),
        str(entry.min_input_size),
        str(files) if files else "",
        "; ".join(problems) or "ok",
    )


def _load_keras_code(network: str) -> None:
    """Load Keras without its messages for a network that exists only as Keras code."""
    if kcnn.ModelSpec(network=network).architecture.keras is not None:
        start_backend()


def _no_match(pattern: str, known: Iterable[str], where: str = "") -> UnknownNameError:
    """The error for a pattern, or a name, that matches no network."""
    if {"*", "?", "["} & {*pattern}:
        return UnknownNameError(f"{f'{where}: ' if where else ''}no network matches {pattern!r}")
    return unknown("network", pattern, known, where)


def _trace(
    network: str,
    input_size: str | None,
    model_option: Sequence[str] | None,
    override: Sequence[str] | None,
    aux_heads: bool = False,
) -> Graph:
    _load_keras_code(network)
    return kcnn.trace(
        network,
        input_shape=parse_input_size(input_size, network),
        overrides=parse_assignments(override, "--override"),
        options=parse_assignments(model_option, "--model-option"),
        aux=aux_heads,
    )


def _to_json(network: str, graph: Graph, table: kcnn.Summary) -> dict[str, Any]:
    spec, architecture = graph.spec, graph.architecture
    assert spec is not None
    assert architecture is not None
    options = {**architecture.defaults(), **spec.options}
    names = [field.name for field in dataclasses.fields(table.layers[0]) if field.name != "op"]
    return {
        "network": network,
        "reference": architecture.reference,
        "params": table.params,
        "non_trainable_params": table.non_trainable_params,
        "macs": table.macs,
        "input_shape": list(graph.input.shape),
        "min_input_size": spec.min_input_size(),
        "receptive_field": list(table.receptive_field),
        "stride": list(table.stride),
        "rescale": repr(architecture.rescale),
        "options": {name: repr(value) for name, value in options.items()},
        "variants": list(architecture.variants),
        "layers": [
            {**{name: getattr(layer, name) for name in names}, "op": to_json_value(layer.op)} for layer in table
        ],
    }
