"""Commands that search for a network, and show what a search came to. TensorFlow is loaded when trials begin."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import kcnn
from kcnn.cli.backend import start_backend
from kcnn.cli.console import (
    UsageError,
    err,
    format_count,
    out,
    parse_assignments,
    parse_count,
    parse_shape,
    resume_hint,
)
from kcnn.cli.networks import Changes, Input, Options, _examples
from kcnn.cli.train import Precision, Strategy
from kcnn.search.space import Range, Space, analyze_feasibility, conditional, default_space, per_layer, stack_space
from kcnn.search.space.choices import format_value

TunerName = Literal["random", "bayesian", "hyperband", "grid"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn search stack --data digits --input 8x8x1 --trials 20",
            "kcnn search googlenet --data photos/ --try stem.kernel=3,5,7 --try 'inception_*_5x5.kernel=3,5,3x5'",
            "kcnn search resnet20 --data cifar/ --tune learning_rate=1e-4..1e-1,log --tuner bayesian --time 2h",
            "kcnn search googlenet --input 64x64x1 --dry-run",
        )
    )(search)
    app.command("search-report", epilog=_examples("kcnn search-report runs/search-stack"))(search_report)
    app.command(epilog=_examples("kcnn replay runs/search-stack 3"))(replay)


def search(
    name: Annotated[
        str, typer.Argument(help='A network, or a variant: "googlenet.bn"; "stack" is built from nothing.')
    ],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help='"digits", "tfds:NAME", a folder of class folders, a CSV.')
    ] = None,
    attempt: Annotated[
        list[str] | None,
        typer.Option(
            "--try", help="Values of layers or an option: stem.kernel=3,5,3x5; depth=2,3; by default a space."
        ),
    ] = None,
    try_each: Annotated[
        list[str] | None, typer.Option("--try-each", help="The same, with a choice for every layer of the address.")
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option("--tune", help="Values of the training: learning_rate=1e-4..1e-2,log; optimizer=sgd,adamw."),
    ] = None,
    tuner: Annotated[TunerName, typer.Option(help="keras-tuner's ways to propose trials.")] = "random",
    trials: Annotated[int | None, typer.Option("--trials", "-t", min=1, help="Budget; 20 by default.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Budget: 90s, 30m, 2h.")] = None,
    total_epochs: Annotated[int | None, typer.Option(min=1, help="Budget: epochs of all trials together.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help='"quick", "paper" or "strong".')] = "quick",
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", min=1, help="Of a whole trial.")] = None,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; runs/search-NAME by default.")] = None,
    input: Input = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "-l", help="At its highest.")] = None,
    adjust: Annotated[list[str] | None, typer.Option("--adjust", "-a", help="Any other field of the recipe.")] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Any number of labels a picture.")] = False,
    max_params: Annotated[str | None, typer.Option(help="Most trained parameters, such as 5M.")] = None,
    max_macs: Annotated[str | None, typer.Option(help="Most multiply-accumulates an image, such as 300M.")] = None,
    max_activation_bytes: Annotated[str | None, typer.Option(help="Most bytes of all layers' outputs.")] = None,
    min_receptive_field: Annotated[int, typer.Option(help="Least receptive field of the features, pixels.")] = 0,
    halving: Annotated[int, typer.Option(help="Stop trials that are not in the best 1/N so far; 0 stops none.")] = 3,
    keep: Annotated[int, typer.Option(min=0, help="Checkpoints that stay, of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option(min=0, help="Of the last training of the best and the default; 0: none.")] = 3,
    seed: Annotated[int, typer.Option(help="Fixes proposals, initial weights, splits and order.")] = 0,
    workers: Annotated[int, typer.Option("--workers", "-n", min=1, help="Processes that try side by side.")] = 1,
    isolate: Annotated[bool, typer.Option("--isolate", help="A process for each trial.")] = False,
    chief: Annotated[str | None, typer.Option(help="HOST:PORT of a search that this machine joins.")] = None,
    port: Annotated[int | None, typer.Option(help="Where workers of other machines join this search.")] = None,
    precision: Annotated[Precision, typer.Option("--precision", "-p", help="Numbers it computes in.")] = "auto",
    strategy: Annotated[Strategy, typer.Option("--strategy", help="Devices inside a trial.")] = "auto",
    set: Options = None,
    change: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the space, and try nothing.")] = False,
) -> None:
    """Search kernel, stride, padding or anything else of a network, and test the best once on unseen pictures.

    Without --try a space is derived from the network's own layers. What cannot be built is never tried. Killed at
    any moment, the same command goes on; a larger budget goes on with a search that has ended.
    """
    wanted = parse_shape(input) if input else None
    if wanted is None and (data or "").partition(":")[0] == "digits":
        wanted = (*kcnn.trace(name, **parse_assignments(set or [], "option")).input.shape[:2], 1)
    limits: dict[str, Any] = {
        word: parse_count(text)
        for word, text in (
            ("max_params", max_params),
            ("max_macs", max_macs),
            ("max_activation_bytes", max_activation_bytes),
        )
        if text is not None
    }
    limits["min_receptive_field"] = min_receptive_field
    asked: dict[str, Any] = {"input_shape": wanted, **limits}
    options, changes = parse_assignments(set or [], "option"), parse_assignments(change or [], "change")
    training = _choices(tune or [])
    own = {**_choices(attempt or []), **{word: per_layer(*_values(text)) for word, text in _split(try_each or [])}}
    if own or (training and name == "mlp"):
        space = Space(name, own, training=training, options=options, overrides=changes, **asked)
    else:
        base = stack_space(**asked) if name == "stack" and not (options or changes) else None
        base = base or default_space(name, options=options, overrides=changes, **asked)
        space = _with(base, training)
    if dry_run:
        out.print(str(analyze_feasibility(space, seed=seed)), markup=False, soft_wrap=True)
        for choice in space.all_choices:
            out.print(f"  {choice.name}: {_range(choice.values)}{_when(choice)}", markup=False, soft_wrap=True)
        return
    if data is None:
        raise UsageError("which pictures? give --data, such as --data digits or a folder of class folders")
    folder = to or Path("runs") / f"search-{name}"
    out.print(f"[bold]{name}[/] on [bold]{data}[/] into {folder}")
    with err.status("loading Keras"):
        start_backend(strategy)
        from kcnn.cli.progress import Interruptible
        from kcnn.search import run as searching
    usual = space.default

    def tell(trial: Any) -> None:
        differs = {word: value for word, value in trial.values.items() if usual.get(word) != value}
        said = ", ".join(f"{word} {format_value(value)}" for word, value in differs.items()) or "the network as it is"
        score = f"{trial.score:.2%}" if trial.score is not None else "-"
        line = f"trial {trial.number:>3} {trial.status:<13} {score:>7} after {trial.epochs} epochs, "
        line += f"{trial.seconds:.0f} s, "
        out.print(
            f"{line}{format_count(trial.params)} parameters, {format_count(trial.macs)} MACs: {said}",
            markup=False,
            soft_wrap=True,
        )

    with resume_hint(folder), Interruptible() as heard:
        found = searching.search(
            space,
            data,
            out=folder,
            tuner=tuner,
            trials=trials,
            seconds=None if time is None else _seconds(time),
            total_epochs=total_epochs,
            recipe=recipe,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            recipe_overrides=parse_assignments(adjust or [], "field of a recipe"),
            multi_label=multi_label,
            halving=halving,
            keep=keep,
            seeds=seeds,
            seed=seed,
            precision=precision,
            strategy=strategy,
            workers=workers,
            process_per_trial=isolate,
            chief=chief,
            port=port,
            callbacks=[heard],
            on_trial_end=tell,
            on_survey=lambda told: out.print(str(told), markup=False, soft_wrap=True),
            log=lambda text: out.print(text, style="yellow", markup=False, soft_wrap=True),
        )
    if chief:
        out.print("done; the machine of the chief has the results")
        return
    _report(found)


def search_report(
    folder: Annotated[Path, typer.Argument(help="Folder of a search.")],
    to: Annotated[Path | None, typer.Option("--out", "-o", help="File; report.html in the folder by default.")] = None,
) -> None:
    """Write one page of a search: leaderboard, curves, importance of each choice, Pareto front, the best network."""
    from kcnn.reports.search_page import write_search_report

    out.print(f"{write_search_report(folder, to)}")


def replay(
    folder: Annotated[Path, typer.Argument(help="Folder of a search.")],
    trial: Annotated[int, typer.Argument(help="Number of a trial.")],
    data: Annotated[str, typer.Option("--data", "-d", help="The data that was searched with.")],
) -> None:
    """Train one trial of a search again, and compare its score with the journal's."""
    with err.status("loading Keras"):
        start_backend()
        from kcnn.search.rerun import rerun_trial as again
    found = again(folder, trial, data)
    said = "the same" if found.same else "NOT the same"
    out.print(f"trial {trial}: {found.score:.6f} now, {found.recorded:.6f} in the journal: {said}")
    if not found.same:
        raise typer.Exit(1)


def _report(found: Any) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(found.counts.items()))
    out.print(f"\n{len(found.trials)} trials: {counts}")
    if found.best is None:
        out.print("no trial came to a score; trials/*/traceback.txt says why")
        return
    values = ", ".join(f"{word} {format_value(value)}" for word, value in found.best.values.items())
    out.print(
        f"best: trial {found.best.number}, validation {found.best.score:.2%}: {values}", markup=False, soft_wrap=True
    )
    if found.final is not None:
        out.print(str(found.final), style="bold", soft_wrap=True)
    out.print(f"trials.csv, trials.jsonl, trials/, final/ in [bold]{found.folder}[/]")
    from kcnn.reports.search_page import write_search_report

    out.print(f"to look at: {write_search_report(found.folder)}", soft_wrap=True)


def _with(space: Space, training: dict[str, Any]) -> Space:
    from dataclasses import replace

    return replace(space, training=training) if training else space


def _split(words: list[str]) -> list[tuple[str, str]]:
    for word in words:
        if not word.partition("=")[0] or not word.partition("=")[2]:
            raise UsageError(f"{word!r} names no values; write stem.kernel=3,5,7")
    return [(word.partition("=")[0], word.partition("=")[2]) for word in words]


def _choices(words: list[str]) -> dict[str, Any]:
    """["stem.kernel=3,5,3x5", "conv3.kernel=3,5 if depth=3,4", "learning_rate=1e-4..1e-2,log"] as choices."""
    found: dict[str, Any] = {}
    for name, text in _split(words):
        values, _, condition = text.partition(" if ")
        parsed: Any = _range_of(values) or _values(values)
        if condition:
            ((other, when),) = _split([condition])
            parsed = conditional(other.strip(), _values(when), parsed)
        found[name] = parsed
    return found


def _range_of(text: str) -> Range | None:
    found = re.fullmatch(r"([^,]+)\.\.([^,]+?)(,log)?", text.strip())
    if not found:
        return None
    low, high = (_value(end) for end in found.groups()[:2])
    if not all(isinstance(end, int | float) for end in (low, high)):
        raise UsageError(f"{text!r} is no range; write 1e-4..1e-2 or 1e-4..1e-2,log")
    return Range(low, high, log=bool(found[3]))


def _values(text: str) -> tuple[Any, ...]:
    import json

    if text.strip().startswith("["):
        try:
            return tuple(json.loads(text))
        except ValueError as error:
            raise UsageError(f"{text!r} is no JSON list: {error}") from None
    return tuple(_value(part) for part in text.split(","))


def _value(text: str) -> Any:
    import json

    text = text.strip()
    if re.fullmatch(r"\d+x\d+", text):
        rows, columns = text.split("x")
        return int(rows), int(columns)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found:
        raise UsageError(f"{text!r} is no time; write 90s, 30m or 2h")
    return float(found[1]) * UNITS[found[2] or "s"]


def _range(values: Any) -> str:
    if isinstance(values, Range):
        return f"{values.low:g} to {values.high:g}{', by ratio' if values.log else ''}"
    return ", ".join(map(format_value, values))


def _when(choice: Any) -> str:
    return (
        f" (only with {choice.only_if[0]} {', '.join(map(format_value, choice.only_if[1]))})" if choice.only_if else ""
    )
