"""The `kcnn transfer` command: fine-tune a pretrained network and compare. TensorFlow is loaded when it starts."""

import functools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli.backend import show_device, silence, start_backend
from kcnn.cli.console import UsageError, err, make_table, out, parse_assignments, print_job, resume_hint, show_spinner
from kcnn.cli.options import (
    DATA,
    MODEL,
    OUTPUT,
    TRAINING,
    AsJson,
    InputSize,
    ModelOptions,
    MultiLabel,
    RecipeOptions,
    choose_input_shape,
    complete_network,
    examples,
    is_digits,
)
from kcnn.distribute.cluster import START_ONCE, require_one_process
from kcnn.run_folders import check_output_folder

DEMO = "demo"


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "kcnn transfer",
            "kcnn transfer --data photos/",
            "kcnn transfer --data photos/ --network mobilenet_v1 --model-option width=0.25 --weights mobilenet.h5",
        )
    )(transfer)


def transfer(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help='A folder of class folders, "digits", "tfds:NAME", or a CSV; the demo without it.',
            rich_help_panel=DATA,
        ),
    ] = None,
    multi_label: MultiLabel = False,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            "-n",
            help="Network by name, or a checkpoint such as hf://timm/resnet18.a1_in1k; mobilenet_v2 by default.",
            autocompletion=complete_network,
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help='Pretrained weights: "imagenet" (default), a file, or "demo".',
            rich_help_panel=MODEL,
        ),
    ] = None,
    input_size: InputSize = None,
    model_option: ModelOptions = None,
    head_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs with the backbone frozen; 20 by default, 5 in the demo.", rich_help_panel=TRAINING
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            "-e",
            min=1,
            help="Epochs of fine-tuning; 10 by default, 5 in the demo.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(
            help='What is fine-tuned: a number of stages from the end, "all", or globs of layers; 1 by default.',
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch_norm: Annotated[
        str,
        typer.Option(help='Batch normalization of the backbone: "frozen" or "adapt".', rich_help_panel=TRAINING),
    ] = "frozen",
    head_learning_rate: Annotated[
        float, typer.Option(help="Peak learning rate with the backbone frozen.", rich_help_panel=TRAINING)
    ] = 1e-2,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            help="Peak learning rate of fine-tuning; 1e-4 by default.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    lr_multiplier: Annotated[
        list[str] | None,
        typer.Option(
            "--lr-multiplier",
            metavar="LAYERS=FACTOR",
            help="Learning-rate multiplier of layers: stage3=0.1, stem*=0; may be repeated.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images per step.", rich_help_panel=TRAINING)
    ] = 16,
    recipe_option: RecipeOptions = None,
    compare_scratch: Annotated[
        bool,
        typer.Option(
            "--compare-scratch", help="Train from scratch, too; the demo always does.", rich_help_panel=TRAINING
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of seeds; 1 by default, 5 in the demo.", rich_help_panel=TRAINING),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Output folder.", rich_help_panel=OUTPUT)] = Path(
        "runs/transfer"
    ),
    as_json: AsJson = False,
) -> None:
    """Fine-tune a pretrained network on your images, and export the best network to LiteRT.

    A new head is trained on the frozen backbone, then the last stages with it; --compare-scratch trains the network
    from random weights, too. The best in validation is exported, and all are compared on the test split. Without
    --data an offline demo fine-tunes a small network, pretrained on the digits 0 to 4, on the digits 5 to 9, with 20
    images of each. Interrupted, the same command resumes.
    """
    options = parse_assignments(model_option, "--model-option")
    recipe_options = parse_assignments(recipe_option, "--recipe-option")
    multipliers = parse_assignments(lr_multiplier, "--lr-multiplier")
    demo = data is None
    if demo and (input_size or multi_label):
        raise UsageError("--input-size and --multi-label require --data; the demo has images of 32x32x1 with one label")
    from kcnn.weights.hub_files import is_hub_address

    if weights is None and not is_hub_address(network):
        weights = DEMO if demo else "imagenet"
    if weights == DEMO and data and not is_digits(data):
        raise UsageError(
            f'"demo" weights are pretrained on 8x8 digits and do not suit {data}; use --weights imagenet, which is '
            "downloaded, or a file"
        )
    spec = _make_spec(network, options, input_size, data, weights)
    weights = weights or str(spec.weights)  # of the checkpoint on the Hub that the network is
    graph = spec.trace()
    print_job(str(spec.network), data or "the demo", folder, spec.nominal_shape, err if as_json else out)
    from kcnn.training import TrainConfig, TrainingPhase
    from kcnn.training.layer_selection import check_phase
    from kcnn.training.run_directory import check_settings
    from kcnn.weights.weight_files import check_weights

    trainable: Any = unfreeze or ("all" if demo else "1")
    trainable = int(trainable) if trainable.isdigit() else trainable if trainable == "all" else trainable.split(",")
    phase = TrainingPhase(
        epochs=epochs or (5 if demo else 10),
        trainable=trainable,
        learning_rate=learning_rate or (1e-3 if demo else 1e-4),
        lr_multipliers=multipliers,
        batch_norm=batch_norm,
    )
    check_phase(graph, phase)
    fine = TrainConfig(recipe="quick", batch_size=batch_size, recipe_overrides=recipe_options, phase=phase)
    published = check_weights(graph, weights)  # raises before Keras is loaded
    require_one_process("a comparison of protocols", START_ONCE)
    check_output_folder(folder, "transfer")
    check_settings(folder / "seed-0" / "fine-tuned", spec, fine)
    if data is not None:
        from kcnn.data.sources import check_source

        check_source(data)
    with show_spinner("loading Keras"):
        start_backend()
        from kcnn.augment import Augmentation
        from kcnn.cli.progress import InterruptHandler
        from kcnn.data import load
        from kcnn.export.run_export import COLUMNS, export_for_phones
        from kcnn.fine_tuning import compare_protocols, default_protocols
        from kcnn.fine_tuning.demo import load_demo_data
        from kcnn.fine_tuning.plots import write_plots
        from kcnn.reports import write_report
        from kcnn.training.progress import describe_data
        from kcnn.training.run_directory import log_failure
        from kcnn.weights.published import download_published
    show_device("auto")

    @functools.lru_cache(maxsize=1)  # with one seed it is needed again for the plots
    def load_data(seed: int) -> Any:
        if data is None:
            return load_demo_data(seed)
        shape: Any = spec.input_shape
        factor = fine.resolved_recipe.augmentation.resize_factor
        return load(
            data,
            input_shape=shape,
            batch_size=batch_size,
            seed=seed,
            multi_label=multi_label,
            resize_factor=factor,
        )

    head = TrainConfig(
        # without augmentation the features of the frozen backbone are computed once
        recipe=replace(fine.resolved_recipe, augmentation=Augmentation()),
        phase=TrainingPhase(head_epochs or (5 if demo else 20), "head", head_learning_rate),
    )

    def log(text: str) -> None:
        err.print(text, soft_wrap=True)

    for line in describe_data(load_data(0)):
        log(line)
    with resume_hint(folder), InterruptHandler() as interrupt_handler:
        if published:
            download_published(published)  # before anything trains: the network may be down
        comparison = compare_protocols(
            spec,
            load_data,
            default_protocols(weights, head, fine, scratch=compare_scratch or demo),
            out=folder,
            seeds=range(seeds or (5 if demo else 1)),
            callbacks=[interrupt_handler],
            log=log,
        )
        best, dataset = comparison.run_folder(0, comparison.best), load_data(0)
        model = kcnn.load_model(best / "model.keras")
        with show_spinner("writing and verifying the files for phones"), silence():
            exported = export_for_phones(best, dataset, folder)
        plots, page = [], None
        with log_failure("plots and the report", log):
            plots = write_plots(model, dataset, folder)
            page = write_report(folder)
    if as_json:
        values = {
            "results": [asdict(result) for result in comparison.results],
            "differences": [asdict(difference) for difference in comparison.differences],
            "exported": str(exported.path),
            "exports": [asdict(check) for check in exported.checks],
            "recommended": str(exported.recommended),
            "report": str(page) if page else None,
            "plots": list(map(str, plots)),
        }
        print(json.dumps(values, indent=1))
        return
    out.print(str(comparison), soft_wrap=True)
    out.print(
        f"{', '.join([*(plot.name for plot in plots), 'transfer.csv'])} in {folder}; {exported.path} is the "
        f"{comparison.best} network of seed 0 for phones, from the run {best}",
        soft_wrap=True,
    )
    if exported.checks:
        out.print(make_table(COLUMNS, exported.rows(), left=("file",)))
    out.print(exported.summary, soft_wrap=True)
    for loss in exported.losses:
        out.print(loss, style="yellow", soft_wrap=True)
    if exported.recommendation:
        out.print(exported.recommendation, soft_wrap=True)
    if page:
        out.print(f"report: {page}", soft_wrap=True)


def _make_spec(
    network: str | None, options: dict[str, Any], input_size: str | None, data: str | None, weights: str | None
) -> kcnn.ModelSpec:
    """The network at the requested size, that of the demo, or its own; gray for digits."""
    from kcnn.weights.hub_files import is_hub_address
    from kcnn.weights.published import resolve_spec

    if data is None:
        from kcnn.fine_tuning import demo  # which loads what reads images

        if network is None:
            return replace(demo.NETWORK, options={**demo.NETWORK.options, **options}, weights=weights)
    name = network or "mobilenet_v2"
    if is_hub_address(name):
        spec = replace(resolve_spec(name, weights, **options), classes=None)
        name = str(spec.network)
    else:
        spec = resolve_spec(kcnn.ModelSpec(network=name, options=options, weights=weights))
    if data is None:
        return replace(spec, input_shape=demo.SHAPE)
    return replace(spec, input_shape=choose_input_shape(input_size, name, data) or spec.nominal_shape)
