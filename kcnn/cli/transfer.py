"""The command that moves a network to a person's own photos. TensorFlow is loaded when it starts."""

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli.backend import start_backend
from kcnn.cli.console import UsageError, err, make_table, out, parse_assignments, parse_shape, resume_hint
from kcnn.cli.networks import Input, Options, _examples

DEMO = "demo"


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn transfer",
            "kcnn transfer --data photos/",
            "kcnn transfer --data photos/ --network mobilenet_v1 --set width=0.25 --weights mobilenet.h5 --seeds 5",
        )
    )(transfer)


def transfer(
    data: Annotated[
        str | None, typer.Option("--data", "-d", help='A folder of class folders, "digits", "tfds:NAME", a CSV.')
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", "-n", help="Any; mobilenet_v2, or the demonstration's.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", help='"imagenet", a file, or "demo"; imagenet for data of yours.')
    ] = None,
    to: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs and the results.")] = Path(
        "runs/transfer"
    ),
    input: Input = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Any number of labels a picture: a CSV, or one name in many folders.")
    ] = False,
    head_epochs: Annotated[
        int | None, typer.Option(min=1, help="Times through the images with the body frozen; 10.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", min=1, help="Then, with the last stages training too; 10.")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help='What then trains: stages from the end, "all", or globs of layers; 1.')
    ] = None,
    norms: Annotated[str, typer.Option(help='Batch norms of the body: "frozen" or "adapt".')] = "frozen",
    multiply: Annotated[
        list[str] | None, typer.Option("--multiply", "-m", help="Learning rate of layers: stage3=0.1, stem*=0.")
    ] = None,
    head_rate: Annotated[float, typer.Option(help="Learning rate of the head, at its highest.")] = 1e-2,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "-l", help="Then, at its highest; 1e-4.")
    ] = None,
    adjust: Annotated[
        list[str] | None, typer.Option("--adjust", "-a", help="Any other field of the recipe: flip=true.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many; 1, or 5 in the demonstration.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images a step.")] = 16,
    set: Options = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Fit a network that learned on something bigger to photos, show what that bought, and leave a file for a phone.

    Three ways are compared on the test split: from scratch, a new head on a frozen body, and that fine-tuned. Without
    arguments, offline: a small network that learned the digits 0 to 4 moves to 5 to 9, with 20 images of each.
    """
    options, changes = parse_assignments(set or [], "option"), parse_assignments(adjust or [], "field of a recipe")
    factors = parse_assignments(multiply or [], "factor to a learning rate")
    demo = data is None
    if demo:
        from kcnn.fine_tuning.demo import NETWORK, OPTIONS

        if network is None:
            network, options = NETWORK, {**OPTIONS, **options}
    weights = weights or (DEMO if demo else "imagenet")
    seeds = seeds or (5 if demo else 1)
    head_epochs = head_epochs or (5 if demo else 10)
    epochs = epochs or (5 if demo else 10)
    train = train or ("all" if demo else "1")
    learning_rate = learning_rate or (1e-3 if demo else 1e-4)
    network = network or "mobilenet_v2"
    if demo and (input or multi_label):
        raise UsageError(
            "--input and --multi-label go with --data; the demonstration's digits are 32x32x1, of one label"
        )
    if weights == DEMO and data and not _digits(data):
        raise UsageError(
            f'"demo" weights learned on 8x8 digits and know nothing of what is in {data}; take --weights imagenet, '
            "which is downloaded, or a file"
        )
    wanted = _size(network, options, input, data)
    drawing = kcnn.trace(network, input_shape=wanted, **options)
    from kcnn.weights import find_published

    named = find_published(drawing, weights)  # mistakes, before the wait
    with err.status("loading Keras"):
        start_backend()
        from kcnn.cli.progress import Interruptible
        from kcnn.data import load
        from kcnn.export.formats import export_model
        from kcnn.fine_tuning import compare_protocols, default_protocols
        from kcnn.fine_tuning.demo import sample_digits
        from kcnn.fine_tuning.images import write_images
        from kcnn.reports import write_report
        from kcnn.training import TrainingPhase, get_recipe
        from kcnn.weights.downloads import download

    @functools.lru_cache(maxsize=1)  # with one seed it is asked for again for the pictures
    def served(seed: int) -> Any:
        if data is None:
            return sample_digits(seed)
        return load(data, input_shape=wanted, batch_size=batch_size, seed=seed, multi_label=multi_label)

    plan = get_recipe("quick", {"batch_size": batch_size, **changes})
    plain = get_recipe(plan, {"augmentation": type(plan.augmentation)()})  # a head's features are computed once
    what: Any = int(train) if train.isdigit() else train if train == "all" else train.split(",")
    three = default_protocols(
        TrainingPhase(head_epochs, "head", head_rate),
        TrainingPhase(epochs, what, learning_rate, factors, norms),
        base=plain,
        fine_base=plan,
    )

    def say(text: str) -> None:
        err.print(text, markup=False, soft_wrap=True)

    with resume_hint(to), Interruptible() as heard:
        if named:
            download(named)  # before anything trains: there may be no network
        found = compare_protocols(
            network,
            served,
            out=to,
            weights=weights,
            protocols=three,
            seeds=range(seeds),
            options=options,
            callbacks=[heard],
            log=say,
        )
        model, last = kcnn.load_model(found.run(0, found.best) / "model.keras"), served(0)
        pictures = write_images(model, last, to)
        phone = export_model(model, to / "phone", "litert", classes=last.classes)
        page = write_report(to)
    if as_json:
        told = {"rows": [asdict(r) for r in found.results], "differences": [asdict(d) for d in found.differences]}
        print(
            json.dumps({**told, "phone": str(phone), "page": str(page), "pictures": list(map(str, pictures))}, indent=1)
        )
        return
    _report(found, seeds)
    out.print(
        f"{', '.join(one.name for one in pictures)}, transfer.csv in {to}; {phone} runs on a phone "
        f"({found.best}, seed 0); {'average_precision' if multi_label else 'confusion'}.png and ledger.csv "
        f"in {found.run(0, found.best)}",
        soft_wrap=True,
    )
    out.print(f"to look at: {page}", soft_wrap=True)


def _size(network: str, options: Any, input: str | None, data: str | None) -> tuple[int, int, int]:
    """The input size: what was asked for, the demonstration's, or the network's own, grey for digits."""
    if data is None:
        return (32, 32, 1)
    if input:
        return parse_shape(input)
    rows, columns, channels = kcnn.trace(network, **options).input.shape
    return rows, columns, 1 if _digits(data) else channels


def _digits(data: str) -> bool:
    """Whether the word means scikit-learn's digits, or some of them, and no folder that is called alike."""
    return data.partition(":")[0] == "digits"


def _report(found: Any, seeds: int) -> None:
    many = found.rows[0].average_precision is not None
    rows = (
        (
            row.way,
            *((f"{row.average_precision:.2%}",) if many else ()),
            f"{row.accuracy:.2%}",
            f"{row.low:.2%} to {row.high:.2%}",
            f"{100 * min(row.accuracies):.2f} to {100 * max(row.accuracies):.2f}",
            f"{row.seconds:.1f} s",
            f"{row.parameters:,}",
        )
        for row in found.rows
    )
    measure = ("mean AP", "every label right") if many else ("test accuracy",)
    columns = ("way", *measure, "95 % interval", "over seeds", "training", "parameters that train")
    out.print(make_table(columns, rows, left=("way",)))
    of = f"{seeds} seeds (Student)" if seeds > 1 else "test images (Wilson)"
    out.print(
        f"intervals over {of}; {found.rows[0].images} test images, one is {100 / found.rows[0].images:.2f} points"
    )
    for one in found.differences:
        said = f"{one.points:+.2f} points ({one.low:+.2f} to {one.high:+.2f}, paired)"
        doubt = "" if one.shown else ": not shown, the interval holds 0"
        out.print(f"{one.better} against {one.worse}: {said}{doubt}")
