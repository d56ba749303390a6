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
    resume_hint,
)
from kcnn.cli.options import (
    DATA,
    HARDWARE,
    OUTPUT,
    TRAINING,
    InputSize,
    ModelOptions,
    Overrides,
    examples,
    parse_input_size,
)
from kcnn.cli.train import Precision, Strategy
from kcnn.search.space import Range, Space, analyze_feasibility, default_space, per_layer, stack_space
from kcnn.search.space.choices import format_value

TunerName = Literal["random", "bayesian", "hyperband", "grid"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


SEARCH = "Search"  # group of options in --help


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog=examples(
            "kcnn search stack --data digits --input-size 8x8x1 --trials 20",
            "kcnn search googlenet --data photos/ --choice stem.kernel=3,5,7 --choice 'inception_*_5x5.kernel=3,5,3x5'",
            "kcnn search resnet20 --data cifar/ --recipe-choice learning_rate=1e-4..1e-1,log --tuner bayesian --time-budget 2h",
            "kcnn search googlenet --input-size 64x64x1 --dry-run",
        )
    )(search)
    app.command("rerun-trial", epilog=examples("kcnn rerun-trial runs/search-stack 3 --data digits"))(rerun_trial)


def search(
    name: Annotated[
        str, typer.Argument(help='A network, or a variant: "googlenet.bn"; "stack" is built from nothing.')
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help='"digits", "tfds:NAME", a folder with a folder per class, or a CSV.',
            rich_help_panel=DATA,
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(
            "--choice",
            metavar="ADDRESS=VALUES",
            help="Values of layers or an option, such as stem.kernel=3,5,3x5 or depth=2,3; a default space without.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    choice_per_layer: Annotated[
        list[str] | None,
        typer.Option(
            "--choice-per-layer",
            metavar="ADDRESS=VALUES",
            help="The same, with a choice for every layer that the address matches.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    recipe_choice: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe-choice",
            metavar="FIELD=VALUES",
            help="Values of the recipe, such as learning_rate=1e-4..1e-2,log or optimizer=sgd,adamw.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    tuner: Annotated[
        TunerName, typer.Option(help="keras-tuner's algorithm that proposes trials.", rich_help_panel=SEARCH)
    ] = "random",
    trials: Annotated[
        int | None,
        typer.Option("--trials", "-t", min=1, help="Budget of trials; 20 by default.", rich_help_panel=SEARCH),
    ] = None,
    time_budget: Annotated[
        str | None, typer.Option("--time-budget", help="Budget of time: 90s, 30m, 2h.", rich_help_panel=SEARCH)
    ] = None,
    total_epochs: Annotated[
        int | None, typer.Option(min=1, help="Budget of epochs over all trials.", rich_help_panel=SEARCH)
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help='"quick", "paper" or "strong".', rich_help_panel=TRAINING)
    ] = "quick",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", "-e", min=1, help="Epochs of a complete trial.", rich_help_panel=TRAINING),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder; runs/search-NAME by default.", rich_help_panel=OUTPUT),
    ] = None,
    input_size: InputSize = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", min=1, help="Images per step.", rich_help_panel=TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", help="Peak learning rate of the schedule.", rich_help_panel=TRAINING),
    ] = None,
    recipe_option: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe-option",
            metavar="FIELD=VALUE",
            help="Set any other field of the recipe; may be repeated.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Any number of labels per image.", rich_help_panel=DATA)
    ] = False,
    max_params: Annotated[
        str | None, typer.Option(help="Maximum of trainable parameters, such as 5M.", rich_help_panel=SEARCH)
    ] = None,
    max_macs: Annotated[
        str | None,
        typer.Option(help="Maximum of multiply-accumulates per image, such as 300M.", rich_help_panel=SEARCH),
    ] = None,
    max_activation_bytes: Annotated[
        str | None, typer.Option(help="Maximum of bytes of all layers' outputs.", rich_help_panel=SEARCH)
    ] = None,
    min_receptive_field: Annotated[
        int, typer.Option(help="Minimum receptive field of the features, in pixels.", rich_help_panel=SEARCH)
    ] = 0,
    reduction_factor: Annotated[
        int,
        typer.Option(
            help="Successive halving: stop trials outside the best 1/N so far; 0 stops none.", rich_help_panel=SEARCH
        ),
    ] = 3,
    keep_checkpoints: Annotated[
        int, typer.Option(min=0, help="Number of best trials whose checkpoints are kept.", rich_help_panel=OUTPUT)
    ] = 3,
    final_seeds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seeds of the final training of the best and the default network; 0 skips it.",
            rich_help_panel=SEARCH,
        ),
    ] = 3,
    seed: Annotated[
        int, typer.Option(help="Seed of proposals, initial weights, splits and order.", rich_help_panel=TRAINING)
    ] = 0,
    workers: Annotated[
        int,
        typer.Option("--workers", "-n", min=1, help="Processes that run trials in parallel.", rich_help_panel=HARDWARE),
    ] = 1,
    process_per_trial: Annotated[
        bool, typer.Option("--process-per-trial", help="Run each trial in a new process.", rich_help_panel=HARDWARE)
    ] = False,
    chief: Annotated[
        str | None, typer.Option(help="HOST:PORT of a search that this machine joins.", rich_help_panel=HARDWARE)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port on which workers of other machines join this search.", rich_help_panel=HARDWARE),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option("--precision", "-p", help="Mixed precision policy of Keras.", rich_help_panel=HARDWARE),
    ] = "auto",
    strategy: Annotated[
        Strategy, typer.Option("--strategy", help="Devices inside each trial.", rich_help_panel=HARDWARE)
    ] = "auto",
    model_option: ModelOptions = None,
    override: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the space and run nothing.", rich_help_panel=SEARCH)
    ] = False,
) -> None:
    """Search hyperparameters of a network (kernel, stride, padding, ...) and test the best network once.

    Without --choice the space is derived from the network's own layers. Networks that cannot be built are never
    tried. Interrupted or killed, the same command resumes; a larger budget continues a finished search.
    """
    options = parse_assignments(model_option, "--model-option")
    overrides = parse_assignments(override, "--override")
    input_shape = parse_input_size(input_size, name)
    if input_shape is None and (data or "").partition(":")[0] == "digits":
        input_shape = (*kcnn.trace(name, **options).input.shape[:2], 1)
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
    request: dict[str, Any] = {"input_shape": input_shape, **limits}
    training = _choices(recipe_choice or [])
    per_layer_choices = {name: per_layer(*_values(text)) for name, text in _split(choice_per_layer or [])}
    choices = {**_choices(choice or []), **per_layer_choices}
    if choices or (training and name == "mlp"):
        space = Space(name, choices, training=training, options=options, overrides=overrides, **request)
    else:
        base = stack_space(**request) if name == "stack" and not (options or overrides) else None
        base = base or default_space(name, options=options, overrides=overrides, **request)
        space = _with(base, training)
    if dry_run:
        out.print(str(analyze_feasibility(space, seed=seed)), markup=False, soft_wrap=True)
        for one in space.all_choices:
            out.print(f"  {one.name}: {_range(one.values)}{_when(one)}", markup=False, soft_wrap=True)
        return
    if data is None:
        raise UsageError("missing option --data, such as --data digits or a folder with a folder per class")
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
            seconds=None if time_budget is None else _seconds(time_budget),
            total_epochs=total_epochs,
            recipe=recipe,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            recipe_overrides=parse_assignments(recipe_option, "--recipe-option"),
            multi_label=multi_label,
            reduction_factor=reduction_factor,
            keep_checkpoints=keep_checkpoints,
            final_seeds=final_seeds,
            seed=seed,
            precision=precision,
            strategy=strategy,
            workers=workers,
            process_per_trial=process_per_trial,
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


def rerun_trial(
    folder: Annotated[Path, typer.Argument(help="Folder of a search.")],
    trial: Annotated[int, typer.Argument(help="Number of a trial.")],
    data: Annotated[str, typer.Option("--data", "-d", help="The data of the search.", rich_help_panel=DATA)],
) -> None:
    """Train one trial of a search again and compare its score with the recorded one."""
    with err.status("loading Keras"):
        start_backend()
        from kcnn.search import rerun
    result = rerun.rerun_trial(folder, trial, data)
    verdict = "the same" if result.same else "NOT the same"
    out.print(f"trial {trial}: {result.score:.6f} now, {result.recorded:.6f} in the journal: {verdict}")
    if not result.same:
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

    out.print(f"report: {write_search_report(found.folder)}", soft_wrap=True)


def _with(space: Space, training: dict[str, Any]) -> Space:
    from dataclasses import replace

    return replace(space, training=training) if training else space


def _split(words: list[str]) -> list[tuple[str, str]]:
    for word in words:
        if not word.partition("=")[0] or not word.partition("=")[2]:
            raise UsageError(f"{word!r} has no values; write stem.kernel=3,5,7")
    return [(word.partition("=")[0], word.partition("=")[2]) for word in words]


def _choices(words: list[str]) -> dict[str, Any]:
    """["stem.kernel=3,5,3x5", "learning_rate=1e-4..1e-2,log"] as choices."""
    for _, text in _split(words):
        if " if " in text:
            raise UsageError(f"{text!r} has a condition; write it in Python with kcnn.search.space.conditional")
    return {name: _range_of(text) or _values(text) for name, text in _split(words)}


def _range_of(text: str) -> Range | None:
    found = re.fullmatch(r"([^,]+)\.\.([^,]+?)(,log)?", text.strip())
    if not found:
        return None
    low, high = (_value(end) for end in found.groups()[:2])
    if not all(isinstance(end, int | float) for end in (low, high)):
        raise UsageError(f"invalid range {text!r}; write 1e-4..1e-2 or 1e-4..1e-2,log")
    return Range(low, high, log=bool(found[3]))


def _values(text: str) -> tuple[Any, ...]:
    import json

    if text.strip().startswith("["):
        try:
            return tuple(json.loads(text))
        except ValueError as error:
            raise UsageError(f"invalid JSON list {text!r}: {error}") from None
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
        raise UsageError(f"invalid time {text!r}; write 90s, 30m or 2h")
    return float(found[1]) * UNITS[found[2] or "s"]


def _range(values: Any) -> str:
    if isinstance(values, Range):
        return f"{values.low:g} to {values.high:g}{', by ratio' if values.log else ''}"
    return ", ".join(map(format_value, values))


def _when(choice: Any) -> str:
    return (
        f" (only with {choice.condition[0]} {', '.join(map(format_value, choice.condition[1]))})"
        if choice.condition
        else ""
    )
