"""The `kcnn search` command. TensorFlow is loaded when trials begin."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import kcnn
from kcnn.cli.backend import show_device, start_backend
from kcnn.cli.console import (
    UsageError,
    err,
    out,
    parse_assignments,
    print_job,
    resume_hint,
    show_spinner,
)
from kcnn.cli.options import (
    DATA,
    HARDWARE,
    OUTPUT,
    STRATEGIES,
    TRAINING,
    BatchSize,
    Folds,
    InputSize,
    LearningRate,
    ModelOptions,
    MultiLabel,
    Overrides,
    PrecisionOption,
    RecipeName,
    RecipeOptions,
    choose_input_shape,
    complete_network,
    examples,
)
from kcnn.cli.search_values import format_choice, parse_choices, parse_layer_choices, parse_limit, parse_time
from kcnn.graph.formatting import format_count, format_number, format_values
from kcnn.run_folders import check_output_folder
from kcnn.search import space as spaces

TunerName = Literal["random", "bayesian", "hyperband", "grid", "optuna:tpe", "optuna:nsga2", "optuna:random"]
OBJECTIVE_NAMES = "auto|accuracy|balanced_accuracy|macro_f1|average_precision|loss|-macs|-params|-latency"

SEARCH = "Search"  # group of options in --help


def add(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        epilog=examples(
            "kcnn search stack --data digits --input-size 8x8x1 --trials 20",
            "kcnn search googlenet --data photos/ --choice stem.kernel=3,5,7 --choice 'inception_*_5x5.kernel=3,5,3x5'",
            "kcnn search resnet20 --data cifar/ --recipe-choice learning_rate=1e-4..1e-1,log --tuner bayesian",
            "kcnn search resnet20 --data cifar/ --objective accuracy --objective -macs --tuner optuna:nsga2",
            "kcnn search googlenet --input-size 64x64x1 --dry-run",
        )
    )(search)


def search(
    name: Annotated[
        str,
        typer.Argument(
            help='A network, or a variant: "googlenet.bn"; "stack" is a plain network of any depth.',
            autocompletion=complete_network,
        ),
    ],
    input_size: InputSize = None,
    model_option: ModelOptions = None,
    override: Overrides = None,
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
            help="Values of layers or an option, such as stem.kernel=3,5,3x5 or depth=2,3; without it a default space.",
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
            metavar="OPTION=VALUES",
            help="Values of the recipe, such as learning_rate=1e-4..1e-2,log or optimizer=sgd,adamw.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    tuner: Annotated[
        TunerName, typer.Option(help="The algorithm that proposes trials.", rich_help_panel=SEARCH)
    ] = "random",
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar=OBJECTIVE_NAMES,
            help="Measure of trials in validation; auto, the default: average precision for several labels, balanced "
            "accuracy for imbalanced classes, else accuracy. Repeat it for a Pareto search: costs with a minus are "
            "minimized.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", "-t", min=1, help="Budget of trials; 20 by default.", rich_help_panel=SEARCH),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option("--time-budget", help="Budget of wall-clock time: 90s, 30m, 2h.", rich_help_panel=SEARCH),
    ] = None,
    total_epochs: Annotated[
        int | None, typer.Option(min=1, help="Budget of epochs over all trials.", rich_help_panel=SEARCH)
    ] = None,
    recipe: RecipeName = "quick",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="Start every trial from pretrained weights, morphed to its network: a name, or a file.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", "-e", min=1, help="Epochs of a complete trial.", rich_help_panel=TRAINING),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder; runs/search-NAME by default.", rich_help_panel=OUTPUT),
    ] = None,
    folds: Folds = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    recipe_option: RecipeOptions = None,
    multi_label: MultiLabel = False,
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
        int | None,
        typer.Option(min=0, help="Minimum receptive field of the features, in pixels.", rich_help_panel=SEARCH),
    ] = None,
    reduction_factor: Annotated[
        int,
        typer.Option(
            help="Successive halving: stop trials outside the best 1/N so far; 0 stops none.", rich_help_panel=SEARCH
        ),
    ] = 3,
    keep_checkpoints: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of best trials whose checkpoints are kept; those of a Pareto front are, too, unless it is 0.",
            rich_help_panel=OUTPUT,
        ),
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
    precision: PrecisionOption = "auto",
    strategy: Annotated[
        str,
        typer.Option("--strategy", metavar=STRATEGIES, help="Devices inside each trial.", rich_help_panel=HARDWARE),
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the space and run nothing.", rich_help_panel=SEARCH)
    ] = False,
) -> None:
    """Search hyperparameters of a network (kernel, stride, padding, ...) and test the best network once.

    Without --choice the space is derived from the network's own layers. Networks that cannot be built are never
    tried. Interrupted or killed, the same command resumes; a larger budget continues a finished search.
    """
    from kcnn.search import SearchConfig
    from kcnn.search.objectives import read_objectives
    from kcnn.search.result import read_request
    from kcnn.search.resumption import check_resumed
    from kcnn.search.training_choices import check_training

    spec = kcnn.ModelSpec(
        network=name,
        input_shape=choose_input_shape(input_size, name, data),
        options=parse_assignments(model_option, "--model-option"),
        overrides=parse_assignments(override, "--override"),
    )
    limits = spaces.Limits(
        max_params=parse_limit(max_params),
        max_macs=parse_limit(max_macs),
        max_activation_bytes=parse_limit(max_activation_bytes),
        min_receptive_field=min_receptive_field,
    )
    choices = {**parse_choices(choice, "--choice"), **parse_layer_choices(choice_per_layer, "--choice-per-layer")}
    recipe_overrides = parse_assignments(recipe_option, "--recipe-option")
    fixed = {*recipe_overrides, *(() if learning_rate is None else ("learning_rate",))}
    config = SearchConfig(
        tuner=tuner,
        objective=objective or "auto",
        trials=trials,
        time_budget=None if time_budget is None else parse_time(time_budget),
        total_epochs=total_epochs,
        reduction_factor=reduction_factor,
        keep_checkpoints=keep_checkpoints,
        final_seeds=final_seeds,
        train=kcnn.TrainConfig(
            recipe=recipe,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            recipe_overrides=recipe_overrides,
            seed=seed,
            multi_label=multi_label,
            precision=precision,
            strategy=strategy,
            folds=folds,
        ),
        weights=weights,
        workers=workers,
        process_per_trial=process_per_trial,
        chief=chief,
        port=port,
    )
    tuned, rate = parse_choices(recipe_choice, "--recipe-choice"), config.train.resolved_recipe.learning_rate
    space = _make_space(spec, choices, tuned, limits, rate, fixed)
    check_training(space, config.train, spec.nominal_shape[:2])
    if dry_run:
        _print(str(spaces.analyze_feasibility(space, seed=seed)))
        for one in space.all_choices:
            _print(f"  {one.name}: {format_choice(one)}")
        return
    if data is None:
        raise UsageError("missing option --data, such as --data digits or a folder with a folder per class")
    config.check_process()
    folder = to or Path("runs") / f"search-{space.name}"
    print_job(name, data, folder, spec.nominal_shape)
    check_output_folder(folder, "search")
    check_resumed(folder, space, config)
    from kcnn.data.loading import check_data
    from kcnn.weights.published import check_weights_file

    if weights is not None:
        check_weights_file(weights)
    check_data(data, folds=folds, seed=seed, multi_label=multi_label)
    with show_spinner("loading Keras"):
        start_backend(strategy)
        from kcnn.cli.progress import InterruptHandler
        from kcnn.search import search as run
    show_device(strategy, workers)
    default = space.default
    with resume_hint(folder), InterruptHandler() as interruptible:
        result = run(
            space,
            data,
            config,
            out=folder,
            callbacks=[interruptible],
            on_trial_end=lambda trial: _print(_format_trial(trial, default, read_objectives(read_request(folder)))),
            on_survey=lambda report: _print(str(report)),
            log=lambda text: out.print(text, style="yellow", soft_wrap=True),
        )
    if chief:
        out.print("the search has ended; its results are on the machine of the chief")
        return
    _print_result(result)


def _print_result(result: Any) -> None:
    from kcnn.search.result import format_front

    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    out.print(f"\n{len(result.trials)} trials: {counts}")
    if result.best is None:
        out.print("all trials failed; trials/*/traceback.txt has the reasons")
    else:
        best = result.best
        score = result.objective.format_score(best.score)
        chosen = ""
        if result.others and result.pareto:
            _print(format_front(result.pareto, result.objectives))
            chosen = f" of the front, by {result.objective}"
        _print(f"best{chosen}: trial {best.number}, {result.objective} {score}: {format_values(best.values)}")
    if result.final is not None:
        out.print(str(result.final), style="bold", soft_wrap=True)
    _print(f"trials.csv, trials.jsonl, trials/{', final/' if result.final else ''} in {result.folder}")
    from kcnn.reports.search_page import write_search_report
    from kcnn.training.run_directory import log_failure

    with log_failure("report", lambda text: err.print(text, style="yellow", markup=False, soft_wrap=True)):
        out.print(f"report: {write_search_report(result.folder)}", markup=False, soft_wrap=True)


def _print(text: str) -> None:
    out.print(text, soft_wrap=True)


def _format_trial(trial: Any, default: Mapping[str, Any], objectives: Sequence[Any]) -> str:
    objective, *others = objectives
    changed = {name: value for name, value in trial.values.items() if default.get(name) != value}
    score = objective.format_score(trial.score) if trial.score is not None else "-"
    measured = "".join(
        f", {one} {one.format_value(trial.objectives[one.key])}"
        for one in others
        if one.key in trial.objectives and one.key not in vars(trial)
    )
    return (
        f"trial {trial.number:>3} {trial.status:<13} {objective} {score:>7} after "
        f"{format_number(trial.epochs, 'epoch')}, {trial.seconds:.0f} s, "
        f"{format_count(trial.params)} parameters, {format_count(trial.macs)} MACs{measured}: "
        f"{format_values(changed) or 'the unchanged network'}"
    )


def _make_space(
    spec: kcnn.ModelSpec,
    choices: dict[str, Any],
    training: dict[str, Any],
    limits: "spaces.Limits",
    learning_rate: float,
    fixed: Collection[str],
) -> "spaces.Space":
    """The space of some choices; one that is derived from the network, except what is fixed, without choices of it."""
    if choices or (training and spec.network == "mlp"):
        return spaces.Space(spec, choices, training=training, limits=limits)
    is_plain_stack = spec.network == "stack" and not spec.options and not spec.overrides
    make = spaces.stack_space if is_plain_stack else spaces.default_space
    space = make(spec, limits=limits, learning_rate=learning_rate)
    derived = {name: values for name, values in space.training.items() if name not in fixed}
    return replace(space, training={**derived, **training}) if space.choices or training else space
