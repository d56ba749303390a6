"""Commands that work on paper: list, describe, draw, diff, verify. Only `verify --build` loads Keras."""

import dataclasses
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

import kcnn
from kcnn import atomic_io as files
from kcnn.architectures import catalogue, doctor, registry
from kcnn.cli.console import (
    UsageError,
    err,
    format_count,
    format_shape,
    make_table,
    out,
    parse_assignments,
    parse_count,
    parse_shape,
)
from kcnn.graph.names import suggest
from kcnn.plots import network
from kcnn.plots.network import labels

Changes = Annotated[
    list[str] | None,
    typer.Option("--change", "-c", metavar="LAYER.FIELD=VALUE", help="Change layers by address; may be repeated."),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="OPTION=VALUE", help="An option of the network; may be repeated."),
]
Input = Annotated[str | None, typer.Option("--input", "-i", metavar="ROWSxCOLUMNSxCHANNELS", help="Image size.")]


def add(app: typer.Typer) -> None:
    app.command(
        "list",
        epilog=_examples(
            "kcnn list",
            "kcnn list 'resnet*' --variants --weights",
            "kcnn list --max-params 5M --max-macs 1G",
        ),
    )(list_networks)
    app.command(
        epilog=_examples(
            "kcnn describe googlenet",
            "kcnn describe resnet50.torchvision --input 96x96x1",
            "kcnn describe mobilenet_v2 --set width=0.5 --json",
            "kcnn describe resnet18 --change 'stage3_unit1_{a,skip}.stride=1'",
        )
    )(describe)
    app.command(
        epilog=_examples(
            "kcnn draw googlenet",
            "kcnn draw resnet50 --svg figures/resnet50.svg --by params",
            "kcnn draw mobilenet_v2 --set width=0.5 --input 96x96x1 --layers --svg -",
        )
    )(draw)
    app.command(epilog=_examples("kcnn diff googlenet googlenet.torchvision", "kcnn diff resnet50 resnet50.keras"))(
        diff
    )
    app.command(epilog=_examples("kcnn verify", "kcnn verify 'resnet*' --build", "kcnn verify --path ."))(verify)


def _unknown(pattern: str) -> UsageError:
    near = ", ".join(suggest(pattern, kcnn.list_models()))
    return UsageError(f"no network is named like {pattern!r}; the nearest are {near}")


def _examples(*lines: str) -> str:
    return "[bold]Examples[/]\n\n" + "\n\n".join(f"  {line.replace('[', chr(92) + '[')}" for line in lines)


def list_networks(
    pattern: Annotated[str, typer.Argument(help="Names to list; * stands for anything.")] = "*",
    max_params: Annotated[str | None, typer.Option(help="At most so many trainable parameters, such as 5M.")] = None,
    max_macs: Annotated[
        str | None, typer.Option(help="At most so many multiply-accumulates an image, such as 1G.")
    ] = None,
    min_input: Annotated[
        int | None, typer.Option(help="Only networks that take a square image of so few pixels a side.")
    ] = None,
    variants: Annotated[bool, typer.Option("--variants", help="A row for every variant too.")] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="With published weights, and the accuracy they cite.")
    ] = False,
) -> None:
    """List every network that is installed, with what it costs; without a word, plugins of others' by name alone."""
    variants = variants or "." in pattern
    plain = pattern == "*" and not (max_params or max_macs or min_input or variants or weights)
    names = catalogue.expand_names(pattern, variants)
    if not names:
        raise _unknown(pattern)
    most_params, most_macs = (parse_count(text) if text else float("inf") for text in (max_params, max_macs))
    rows: list[tuple[str, ...]] = []
    for name in names:
        if plain and not registry.is_builtin(name):  # nobody's code runs who was not asked for
            rows.append((name, *[""] * 6, f"of {' and '.join(filter(registry.is_allowed, registry.discover()[name]))}"))
            continue
        try:
            found = catalogue.make_entry(name)
        except (Exception, SystemExit) as error:  # a broken plugin hurts only its own name
            err.print(f"{name}: {error}", style="yellow", markup=False, soft_wrap=True)
            continue
        plan, measured = found.architecture, found.summary
        if (
            measured.params > most_params
            or measured.macs > most_macs
            or (min_input and found.min_input_size > min_input)
        ):
            continue
        cost = f"{measured.params:,}", format_count(measured.macs)
        takes = format_shape(plan.input_shape), str(found.min_input_size), str(measured.receptive_field[0])
        more = () if variants else (" ".join(plan.variants),)
        rows.append((name, *cost, *takes, *more, catalogue.describe_weights(plan) if weights else plan.reference))
    if not rows:
        raise UsageError(f"none of the {len(names)} networks that fit {pattern!r} keeps to these limits")
    folded = (*(() if variants else ("variants",)), "weights" if weights else "reference")
    columns = ("network", "parameters", "MACs", "input", "smallest", "field", *folded)
    out.print(make_table(columns, rows, left=("network", *folded), wraps=folded))


def describe(
    name: Annotated[str, typer.Argument(help='A network, or a variant: "resnet50.keras".')],
    input: Input = None,
    set: Options = None,
    change: Changes = None,
    aux: Annotated[bool, typer.Option("--aux", help="With its auxiliary classifiers.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Show a network layer by layer: shapes, costs, receptive field, and what can be changed."""
    plan = kcnn.get_architecture(name)
    asked: dict[str, Any] = {
        "overrides": parse_assignments(change or [], "change"),
        "aux": aux,
        **parse_assignments(set or [], "option"),
    }
    drawing = kcnn.trace(name, input_shape=parse_shape(input) if input else None, **asked)
    measured = kcnn.summary(drawing)
    least = kcnn.min_input_size(name, input_shape=drawing.input_shape, **asked)
    facts = {
        "network": name,
        "reference": plan.reference,
        "params": measured.params,
        "state": measured.non_trainable_params,
        "macs": measured.macs,
        "input_shape": list(drawing.input.shape),
        "min_input_size": least,
        "receptive_field": list(measured.receptive_field),
        "stride": list(measured.stride),
        "rescale": repr(plan.rescale),
        "options": {option: repr(asked.get(option, value)) for option, value in plan.defaults().items()},
        "variants": list(kcnn.get_architecture(name).variants),
    }
    if as_json:
        rows = [
            {
                **{f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.name != "op"},
                "op": _record(row.op),
            }
            for row in measured
        ]
        print(json.dumps({**facts, "layers": rows}, indent=1))
        return
    columns = ("layer", "what", "shape", "parameters", "MACs", "field", "stride")
    layers = (
        (
            row.name,
            labels.describe_op(row.op, "x"),
            format_shape(row.shape),
            f"{row.params:,}" if row.params else "",
            format_count(row.macs) if row.macs else "",
            _both(row.receptive_field),
            _both(row.stride),
        )
        for row in measured
    )
    out.print(make_table(columns, layers, left=("layer", "what"), wraps=("what",)))
    out.print()
    totals = Table.grid(padding=(0, 2))
    for label, text in (
        ("network", f"[bold]{name}[/] ({plan.reference})"),
        ("parameters", f"{measured.params:,} trained, {measured.non_trainable_params:,} of moving statistics"),
        ("MACs", f"{measured.macs:,} an image of {format_shape(drawing.input.shape)}"),
        (
            "features",
            f"{format_shape(measured.features.shape)}, each sees {_both(measured.receptive_field)} pixels",
        ),
        ("smallest input", f"{least}x{least}"),
        (
            "pixels 0..255",
            "go in as they are" if plan.keras else f"are rescaled: {labels.describe_op(plan.rescale, 'x')}",
        ),
        ("options", ", ".join(f"{o}={v}" for o, v in facts["options"].items()) or "none"),
        ("variants", ", ".join(f"{name}.{v}" for v in plan.variants) or "none"),
        ("weights", catalogue.describe_weights(plan) or "none of its own"),
        ("patchable", "by its options alone: it is Keras code" if plan.keras else _patchable(measured)),
    ):
        totals.add_row(f"[bold]{label}[/]", text)
    out.print(totals)


def draw(
    name: Annotated[str, typer.Argument(help='A network, or a variant: "resnet50.keras".')],
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Where the figure goes; - is the terminal.")
    ] = None,
    input: Input = None,
    set: Options = None,
    change: Changes = None,
    by: Annotated[str, typer.Option(help="What colours stand for: macs or params.")] = "macs",
    layers: Annotated[bool, typer.Option("--layers", help="A box for every layer.")] = False,
) -> None:
    """Draw a network as a figure for a slide or a page: an SVG, NAME.svg in this folder where nothing else is said."""
    drawing = kcnn.trace(
        name,
        input_shape=parse_shape(input) if input else None,
        overrides=parse_assignments(change or [], "change"),
        **parse_assignments(set or [], "option"),
    )
    text = network.plot_network(drawing, color_by=by, layers=layers)
    if svg == "-":
        print(text, end="")
        return
    path = Path(svg or f"{name.replace(':', '_')}.svg")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; --svg takes a file to write the figure to")
    files.write_text(path, text)
    out.print(f"{path}: {len(kcnn.summary(drawing)) - 1} layers", markup=False, soft_wrap=True)


def diff(
    a: Annotated[str, typer.Argument(help="A network.")],
    b: Annotated[str, typer.Argument(help="Another, or another variant.")],
    input: Input = None,
    layers: Annotated[bool, typer.Option("--layers", help="Layer by layer.")] = False,
) -> None:
    """Show how two networks differ, and what that does to the whole."""
    first, second = (kcnn.trace(name, input_shape=parse_shape(input) if input else None) for name in (a, b))
    colors = {"+": "green", "-": "red", "~": "yellow"}
    found = kcnn.diff(first, second)
    for line in (str(found) if layers else found.text).splitlines():
        out.print(line, style=colors.get(line[0]), markup=False, soft_wrap=True)


def verify(
    pattern: Annotated[str, typer.Argument(help="Networks to verify; * stands for anything.")] = "*",
    keras: Annotated[bool, typer.Option("--build", help="Build each with Keras too, and compare.")] = False,
    path: Annotated[
        Path | None, typer.Option(help="The checkout of a plugin, to verify what it publishes before it is published.")
    ] = None,
) -> None:
    """Recompute what every plugin declares of its networks and weights; exit with 1 where something is not so."""
    if path is None:
        names = catalogue.expand_names(pattern)
        if not names:
            raise _unknown(pattern)
        _verified(names, keras)
        return
    with doctor.simulate_install(path) as (distribution, published):
        wrong = list(doctor.check_distribution(distribution, published))
        for one in wrong:
            err.print(f"{distribution}: {one}", style="yellow", markup=False, soft_wrap=True)
        owned = [full for name in published for full in catalogue.list_variants(f"{distribution}:{name}")]
        fitting = [name for name in owned if fnmatchcase(name, f"*{pattern}*")]
        if not fitting:
            raise UsageError(f"{distribution} publishes no network like {pattern!r}; it has {', '.join(published)}")
        _verified(fitting, keras, failed=bool(wrong))


def _verified(names: Sequence[str], keras: bool, failed: bool = False) -> None:
    rows, bad = [], 0
    for name in names:
        try:
            found = catalogue.make_entry(name)
            said = list(catalogue.find_discrepancies(found, keras))
            measured, files = found.summary, len(found.architecture.weights)
            cells = [
                f"{measured.params:,}",
                format_count(measured.macs),
                str(measured.receptive_field[0]),
                str(found.min_input_size),
            ]
            cells.append(str(files) if files else "")
        except (Exception, SystemExit) as error:  # a plugin that is broken in any way is a row of its own
            cells, said = [""] * 5, [str(error)]
        bad += bool(said)
        rows.append((name, *cells, "; ".join(said) or "ok"))
    columns = ("network", "parameters", "MACs", "field", "smallest", "weights", "verdict")
    out.print(make_table(columns, rows, left=("network", "verdict"), wraps=("verdict",)))
    out.print(f"\n{len(rows) - bad} of {len(rows)} are as declared")
    if bad or failed:
        raise typer.Exit(1)


def _both(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _record(op: Any) -> dict[str, Any] | None:
    return None if op is None else {"op": type(op).__name__, **dataclasses.asdict(op)}


def _patchable(measured: Any) -> str:
    """An address for each kind of layer: its fields, and the first layer that has them."""
    kinds: dict[str, tuple[str, list[str]]] = {}
    for row in measured:
        if row.op is not None and dataclasses.fields(row.op) and (row.params or row.macs or hasattr(row.op, "kernel")):
            kinds.setdefault(type(row.op).__name__, (row.name, [f.name for f in dataclasses.fields(row.op)]))
    return "\n".join(f"{name}.{{{','.join(fields)}}}" for name, fields in kinds.values())
