"""Compare kcnn's default training with the recipes of the Keras guides and of torchvision, at equal processor time.

    python benchmarks/defaults.py                                  # digits, and every set whose folder is given
    python benchmarks/defaults.py --cifar cifar/ --fashion tfds:fashion_mnist --photos hymenoptera/ --weights W.h5

From scratch, every recipe trains the same network with the same initial weights and images for as many epochs as fit
into the same processor time; only the recipe differs. "Keras guide" is keras.io's "Image classification from scratch":
Adam at 3e-4, batches of 128, random flips and rotations. "torchvision" is the default of its references/classification
/train.py: SGD at 0.1 with momentum, weight decay 1e-4, batches of 32, a tenth of the rate after each third, random
resized crops and flips. Both run on Keras here, so that nothing but the recipe differs, and use no validation images.

Fine-tuned, kcnn's default protocols are compared with keras.io's "Transfer learning and fine-tuning": a frozen
backbone, dropout of 0.2 and a new head, 20 epochs of Adam at 1e-3, then 10 at 1e-5 with all layers, batch norms frozen.

Differences are paired by seed, which draws splits, images and initial weights; intervals are 95% (Student's t).

Measured on 2 CPU cores beside other work with seeds 3 to 5 (--first-seed 3), on which nothing was chosen; test accuracy
after 15 s of processor time for digits, 120 s for all images of a public set, else 30 s, without the first epoch,
which compiles; a recipe trains whole epochs, so that with 45,000 images its time is 117 to 141 s in all:

                              kcnn    Keras guide                          torchvision
    digits                   99.07%   96.10%, +2.97 (+1.23 to +4.71)       96.10%, +2.97 (+0.09 to +5.85)
    fashion 600              80.12%   72.20%, +7.92 (+6.93 to +8.91)       75.49%, +4.63 (-0.92 to +10.19)
    fashion 6000             87.51%   74.59%, +12.92 (+11.56 to +14.28)    77.62%, +9.89 (+8.81 to +10.96)
    fashion 54000            90.65%   81.33%, +9.32 (+8.32 to +10.32)      82.53%, +8.13 (+7.18 to +9.07)
    cifar 500                39.95%   34.31%, +5.64 (+0.76 to +10.52)      34.60%, +5.35 (+1.23 to +9.48)
    cifar 5000               43.30%   36.67%, +6.63 (+3.65 to +9.61)       35.41%, +7.89 (+4.34 to +11.44)
    cifar 45000              55.95%   46.45%, +9.50 (+6.92 to +12.08)      45.14%, +10.81 (+8.69 to +12.93)
    photos                   60.78%   59.69%, +1.09 (-13.64 to +15.82)     51.20%, +9.59 (-9.23 to +28.40)
    photos, fine-tuned       87.36%   77.78%, +9.59 (-1.93 to +21.10)

The photos are ants and bees: 244 for training and 153 to test. Fine-tuning MobileNet v1 of width 0.25 took kcnn 24 s
and the Keras guide's recipe 61 s of processor time. Where an interval includes 0, no difference is shown. All this was
measured when TensorFlow augmented whole batches, which took more of the processor time of every recipe that augments
than OpenCV takes now. Since then, with 60 s and the same seeds, on one core beside other work:

                              kcnn    Keras guide                          torchvision
    digits                   99.35%   98.05%, +1.30 (-0.14 to +2.74)       97.68%, +1.67 (+0.47 to +2.87)
    photos                   63.40%   57.52%, +5.88 (+1.59 to +10.18)      58.82%, +4.58 (-10.91 to +20.06)
    photos, fine-tuned       87.36%   77.78%, +9.59 (-1.93 to +21.10)

Digits a second time: 99.35%, +1.58 (-0.85 to +4.01) and +1.95 (-0.13 to +4.03). Fine-tuning took 25 and 72 s.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import kcnn
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.graph.formatting import format_table
from kcnn.statistics import compare_paired, estimate_mean

KCNN, GUIDE, TORCHVISION = "kcnn", "Keras guide", "torchvision"
CROP_RESIZE = 8 / 7


@dataclass(frozen=True)
class Task:
    """A network on images; `images` of the training images, all where it is None."""

    name: str
    spec: kcnn.ModelSpec
    source: str
    images: int | None = None


def list_tasks(cifar: str | None, fashion: str | None, photos: str | None) -> list[Task]:
    """Return the tasks whose images are there: 1, 10 and 100% of two public sets, digits, and photos."""
    stack, residual = partial(make_spec, "stack"), partial(make_spec, "resnet20", units=1)
    tasks = [Task("digits", stack((16, 16, 1)), "digits")]
    if fashion:
        tasks += [Task(f"fashion {n}", stack((28, 28, 1)), fashion, n) for n in (600, 6_000, 54_000)]
    if cifar:
        tasks += [Task(f"cifar {n}", residual((32, 32, 3)), cifar, n) for n in (500, 5_000, 45_000)]
    if photos:
        tasks.append(Task("photos", make_spec("mobilenet_v2", (96, 96, 3), width=0.35), photos))
    return tasks


def make_spec(network: str, shape: tuple[int, int, int], **options: Any) -> kcnn.ModelSpec:
    """Return a network by name, with options."""
    return kcnn.ModelSpec(network=network, input_shape=shape, options=options)


def load_images(task: Task, seed: int, resize_factor: float = 1.0) -> Any:
    """Return the images of a task in the splits of a seed."""
    from kcnn.data import load

    data = load(task.source, input_shape=task.spec.nominal_shape, seed=seed, resize_factor=resize_factor)
    images = task.images and min(task.images, len(data.splits["train"]))
    return data.subset(train=images, validation=max(50, images // 9), test=5_000) if images else data


def train_kcnn(task: Task, seed: int, epochs: int, callbacks: Sequence[Any] = ()) -> float:
    """Return the test accuracy of kcnn's default training."""
    from kcnn.training import TrainConfig, train
    from kcnn.training.defaults import choose_regularization

    crops = "resized_crop" in choose_regularization(task.spec.nominal_shape[2])
    data = load_images(task, seed, CROP_RESIZE if crops else 1.0)
    config = TrainConfig(seed=seed, epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        result = train(task.spec, data, config, out=Path(folder) / "run", callbacks=callbacks, verbose=0)
        return result.metrics["accuracy"]


def train_keras(task: Task, seed: int, epochs: int, callbacks: Sequence[Any] = (), *, recipe: str) -> float:
    """Return the test accuracy of another recipe, run by Keras on the same network."""
    import keras

    from kcnn.augment import Augmentation

    crops = recipe == TORCHVISION
    augmentation = Augmentation(flip=True, resized_crop=(0.08, 1.0)) if crops else None
    data = load_images(task, seed, CROP_RESIZE if crops else 1.0)
    data = replace(data, batch_size=min(32 if crops else 128, len(data.splits["train"])))
    keras.utils.set_random_seed(seed)
    model = kcnn.build(replace(task.spec, classes=len(data.classes)), seed=seed)
    if crops:
        third = max(1, epochs * data.steps // 3)
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([third, 2 * third], [0.1, 0.01, 0.001])
        optimizer: Any = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-4)
    else:
        optimizer = keras.optimizers.Adam(3e-4)
        model = augment_by_layers(model)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = data.epochs(0, epochs, augmentation)
    model.fit(batches, steps_per_epoch=data.steps, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return measure_accuracy(model, data)


def augment_by_layers(model: Any) -> Any:
    """Return a model behind the random flips and rotations of the Keras guides."""
    from keras import Input, Model, layers

    image = Input(model.input_shape[1:])
    return Model(image, model(layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(image))))


def measure_accuracy(model: Any, data: Any) -> float:
    """Return the accuracy on the test images."""
    from kcnn.training.evidence import compute_scores

    logits, truth = compute_scores(model, data.test)
    return float(np.mean(logits.argmax(-1) == truth))


def count_epochs(train: Callable[..., float], seconds: float) -> int:
    """Return how many epochs take so many seconds of processor time, of those after the first, which compiles."""
    from keras.callbacks import LambdaCallback

    ends: list[float] = []
    train(0, 4, [LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.process_time()))])
    return max(1, round(seconds / float(np.median(np.diff(ends)))))


def fine_tune_kcnn(spec: kcnn.ModelSpec, photos: str, seed: int) -> float:
    """Return the test accuracy of kcnn's default protocols: of the one that is best in validation."""
    from kcnn.data import load
    from kcnn.fine_tuning import compare_protocols, default_protocols

    with tempfile.TemporaryDirectory() as folder:
        comparison = compare_protocols(
            spec,
            lambda number: load(photos, input_shape=spec.nominal_shape, batch_size=16, seed=number),
            default_protocols(spec.weights),
            out=folder,
            seeds=(seed,),
            log=lambda text: None,
        )
    return next(one.accuracy for one in comparison.results if one.protocol == comparison.best)


def fine_tune_keras(spec: kcnn.ModelSpec, photos: str, seed: int) -> float:
    """Return the test accuracy of keras.io's transfer learning guide, with kcnn's network as the base."""
    import keras

    from kcnn.data import load

    data = load(photos, input_shape=spec.nominal_shape, batch_size=64, seed=seed)
    keras.utils.set_random_seed(seed)
    base = kcnn.build(replace(spec, top=False))
    base.trainable = False
    image = keras.Input(spec.nominal_shape)
    x = keras.layers.RandomRotation(0.1)(keras.layers.RandomFlip("horizontal")(image))
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    model = keras.Model(image, keras.layers.Dense(len(data.classes))(keras.layers.Dropout(0.2)(x)))
    for epochs, rate in ((20, 1e-3), (10, 1e-5)):
        model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(data.epochs(0, epochs), steps_per_epoch=data.steps, epochs=epochs, shuffle=False, verbose=0)
        base.trainable = True
    return measure_accuracy(model, data)


def measure(contenders: Mapping[str, Callable[[int], float]], seeds: Sequence[int]) -> list[tuple[str, ...]]:
    """Return a row for each contender: accuracy, processor time, and what kcnn is better by, paired by seed."""
    import keras

    accuracies: dict[str, list[float]] = {name: [] for name in contenders}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for seed in seeds:
        for name, contender in contenders.items():
            start = time.process_time()
            accuracies[name].append(contender(seed))
            times[name].append(time.process_time() - start)
            print(f"seed {seed}, {name}: {accuracies[name][-1]:.2%}", flush=True)
            keras.backend.clear_session()  # models would accumulate in memory
    rows = []
    for name, values in accuracies.items():
        estimate = estimate_mean(values)
        difference = "" if name == KCNN else str(compare_paired(accuracies[KCNN], values))
        interval = f"{estimate.mean:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"
        rows.append((name, interval, f"{np.mean(times[name]):.0f} s", difference))
    return rows


def compare(
    cifar: Annotated[str | None, typer.Option(help="Folder of CIFAR-10, or tfds:cifar10.")] = None,
    fashion: Annotated[str | None, typer.Option(help="tfds:fashion_mnist, or a folder.")] = None,
    photos: Annotated[str | None, typer.Option(help="Folder of photos, one folder per class.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of MobileNet v1 of width 0.25, to fine-tune.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Name of a set; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(help="Processor time of a training from scratch.")] = 60,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
) -> None:
    """Compare kcnn's default training with the recipes of the Keras guides and of torchvision."""
    start_backend()
    chosen = range(first_seed, first_seed + seeds)
    for task in list_tasks(cifar, fashion, photos):
        if only and task.name not in only:
            continue
        trainings: dict[str, Callable[..., float]] = {
            KCNN: partial(train_kcnn, task),
            GUIDE: partial(train_keras, task, recipe=GUIDE),
            TORCHVISION: partial(train_keras, task, recipe=TORCHVISION),
        }
        contenders = {name: partial(train, epochs=count_epochs(train, seconds)) for name, train in trainings.items()}
        show(f"{task.name}, from scratch, {seconds:.0f} s of processor time", measure(contenders, chosen))
    if photos and weights and (not only or "fine-tuned" in only):
        spec = replace(make_spec("mobilenet_v1", (224, 224, 3), width=0.25), weights=weights)
        tuned = {KCNN: partial(fine_tune_kcnn, spec, photos), GUIDE: partial(fine_tune_keras, spec, photos)}
        show("photos, fine-tuned", measure(tuned, chosen))


def show(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print the result of a set."""
    columns = ("recipe", "test accuracy", "processor time", "kcnn is better by")
    print(f"\n{title}\n{format_table(columns, rows, (columns[0], columns[1], columns[3]))}\n", flush=True)


if __name__ == "__main__":
    script(compare)
