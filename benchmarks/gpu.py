"""Measure one GPU in mixed precision: kcnn by Keras on JAX, keras.applications likewise, and torch.compile.

    python benchmarks/gpu.py steps                    # training on one batch; about 8 minutes a round
    python benchmarks/gpu.py steps --network resnet50
    python benchmarks/gpu.py photos --workers 8       # of the loaders of torch; all cores by default

Needs JAX and torch with CUDA, torchvision and timm; TensorFlow is not needed. Images are 224x224, activations bfloat16,
weights float32, SGD with momentum. Each side runs in a process of its own, in alternation: images per second are
medians, ratios are of the same round. Keras trains by `fit`, torch by a loop without other work in it; a first epoch,
of 20 steps, compiles. "photos" decodes photos of 500x375, crops and mirrors them at random: how many images per second
the input gives alone, and how many are trained.

Measured on an NVIDIA H200 with 16 cores, JAX 0.11.2, torch 2.11, batch 256, images per second (first epoch):

    ResNet-50        kcnn 6,770 and 6,732 (16 s), torch 6,705 and 6,646 (62 and, compiled before, 10 s): 1.01 and 1.01
    EfficientNet-B0  kcnn 8,799 (70 s), torch 5,140 (110 s): 1.71; one round each
    EfficientNet-B0  kcnn 8,522 (68 s), keras.applications 8,346 (76 s): 1.02; one round each

Before kcnn had a gradient of its own for batch normalization on JAX, ResNet-50 trained 6,466 images per second,
keras.applications 6,508, torch 6,650: by JAX's profiler, kernels of reductions took 8.4 of the 38.9 ms of a step.

16 cores do not feed this GPU, by any of the loaders: of photos from disk kcnn read 2,655 and 2,923 images per second,
torchvision with 16 processes 3,007 to 3,504, timm 2,983 to 3,505, and ResNet-50 trained on 2,410 of kcnn's,
with four batches in flight, and on 3,081 of torchvision's. kcnn's threads kept 6 of the 16 cores busy.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sample_photos import write_photos

SIZE, CLASSES, CROP_AREA = 224, 1000, (0.25, 1.0)
APPLICATIONS = {"resnet50": "ResNet50", "efficientnet_b0": "EfficientNetB0"}
STEPS, EPOCHS = 20, 5  # of a batch on the GPU; the first epoch compiles
PHOTOS = 512  # written; each has LINKS names
LINKS = 24


def start_jax():
    """Let Keras compute by JAX in mixed precision."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    return keras


def keras_model(library, name):
    keras, shape = start_jax(), (SIZE, SIZE, 3)
    if library == "kcnn":
        import kcnn

        model = kcnn.build(f"{name}.torchvision" if name == "resnet50" else name, input_shape=shape, classes=CLASSES)
    else:
        options = {"weights": None, "input_shape": shape, "classes": CLASSES, "classifier_activation": None}
        model = getattr(keras.applications, APPLICATIONS[name])(**options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss)
    return keras, model


def time_epochs(keras, model, batches, epochs):
    """Return the seconds of each epoch of a `fit`."""
    begun = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(time.perf_counter())

    model.fit(batches, epochs=epochs, callbacks=[Clock()], verbose=0, shuffle=False)
    begun.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(begun)]


def torch_trainer(name):
    """Return torch, and a function that trains on a batch (images, 3, rows, columns) on the GPU."""
    import torch
    import torchvision

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    model = getattr(torchvision.models, name)(num_classes=CLASSES).cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, fused=True)
    compiled = torch.compile(model.train())

    def train(images, labels):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(images), labels)
        loss.backward()
        optimizer.step()

    return torch, train


def train_on_batch(library, name, batch):
    """Return the images of an epoch on one batch on the GPU, and the seconds of each."""
    if library == "torch":
        torch, train = torch_trainer(name)
        images = torch.rand(batch, 3, SIZE, SIZE, device="cuda").to(memory_format=torch.channels_last)
        labels = torch.randint(0, CLASSES, (batch,), device="cuda")
        taken = []
        for _ in range(EPOCHS):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(STEPS):
                train(images, labels)
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        return batch * STEPS, taken
    keras, model = keras_model(library, name)
    import jax
    import numpy as np

    random = np.random.default_rng(0)
    images = jax.device_put(random.uniform(0, 255, (batch, SIZE, SIZE, 3)).astype("float32"))
    labels = jax.device_put(random.integers(0, CLASSES, batch))

    class Same(keras.utils.PyDataset):
        def __len__(self):
            return STEPS

        def __getitem__(self, number):
            return images, labels

    return batch * STEPS, time_epochs(keras, model, Same(), EPOCHS)


def kcnn_photos(folder, batch):
    start_jax()
    from kcnn import data
    from kcnn.augment import Augmentation
    from kcnn.data import loading

    loading.MEMORY_SHARE, loading.AHEAD = 0.0, 0  # every epoch decodes, as the peers' do
    changes = Augmentation(flip=True, resized_crop=CROP_AREA)
    found = data.load(folder, input_shape=(SIZE, SIZE, 3), batch_size=batch, resize_factor=changes.resize_factor)
    return found, lambda first, last: found.epochs(first, last, changes)


def torch_photos(library, folder, batch, workers):
    """A loader of torch: uint8 images by torchvision, floats by timm."""
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(SIZE, scale=CROP_AREA), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    change = v2.Compose(steps)
    if library == "timm":
        import timm.data

        options = {"is_training": True, "scale": CROP_AREA, "hflip": 0.5, "color_jitter": None}
        change = timm.data.create_transform(SIZE, interpolation="bilinear", use_prefetcher=True, **options)
    options = {"num_workers": workers, "pin_memory": True, "persistent_workers": True}
    return torch.utils.data.DataLoader(
        ImageFolder(str(Path(folder, "train")), change), batch, shuffle=True, drop_last=True, **options
    )


def train_on_photos(library, name, batch, folder, workers):
    """Return the images of an epoch of photos, the seconds of each: read alone, and trained on."""
    if library == "kcnn":
        found, make_epochs = kcnn_photos(folder, batch)
        alone = [time_reading(make_epochs(number, number + 1)) for number in range(EPOCHS)]
        keras, model = keras_model("kcnn", name)
        trained = [time_epochs(keras, model, make_epochs(number, number + 1), 1)[0] for number in range(EPOCHS)]
        return found.steps * batch, alone, trained
    loader = torch_photos(library, folder, batch, workers)
    alone, trained = [time_reading(loader) for _ in range(EPOCHS)], []
    torch, train = torch_trainer(name)
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for images, labels in loader:
            images = images.cuda(non_blocking=True).to(memory_format=torch.channels_last)
            train(images.float() / 255, labels.cuda(non_blocking=True))
        torch.cuda.synchronize()
        trained.append(time.perf_counter() - start)
    return len(loader) * batch, alone, trained


def time_reading(batches):
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def run_side(work, *arguments):
    """Return what a function of this file returns in a process of its own."""
    command = [sys.executable, __file__, "side", json.dumps([work, *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{work} {arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


app = typer.Typer(add_completion=False)


@app.command(hidden=True)
def side(request: str) -> None:
    """Print what a function of this file returns, as JSON."""
    work, *arguments = json.loads(request)
    print(json.dumps(globals()[work](*arguments)))


@app.command()
def steps(
    network: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(APPLICATIONS)}; all by default.")] = None,
    batch: int = 256,
    rounds: int = 3,
) -> None:
    """Train on one batch that lies on the GPU."""
    table = Table("network", "library", "first epoch, s", "images per second", "kcnn is faster by")
    for name in network or APPLICATIONS:
        taken = {library: [] for library in ("kcnn", "keras", "torch")}
        for _ in range(rounds):
            for library in taken:
                images, seconds = run_side("train_on_batch", library, name, batch)
                taken[library].append([images / one for one in seconds])
        for library, found in taken.items():
            first = f"{median(images / one[0] for one in found):.0f}"
            add_row(table, (name, library, first), found, taken["kcnn"])
    show(table, f"training at {SIZE}x{SIZE}, batch {batch}, {STEPS} steps an epoch")


@app.command()
def photos(network: str = "resnet50", batch: int = 256, rounds: int = 2, workers: int = os.cpu_count() or 1) -> None:
    """Read and augment photos, and train on them."""
    table = Table("library", "work", "images per second", "kcnn is faster by")
    with tempfile.TemporaryDirectory() as name:
        folder = write_photos(Path(name), count=PHOTOS)
        for path in list(folder.rglob("*.jpg")):
            for number in range(1, LINKS):
                os.link(path, path.with_name(f"{path.stem}_{number}.jpg"))
        read, trained = ({library: [] for library in ("kcnn", "torchvision", "timm")} for _ in range(2))
        for _ in range(rounds):
            for library in read:
                images, *seconds = run_side("train_on_photos", library, network, batch, str(folder), workers)
                for taken, found in zip((read, trained), seconds, strict=True):
                    taken[library].append([images / one for one in found])  # epochs differ by the split of the data
    for library in read:
        add_row(table, (library, "read"), read[library], read["kcnn"])
        add_row(table, ("", f"train {network}"), trained[library], trained["kcnn"])
    show(table, f"photos of 500x375 to {SIZE}x{SIZE}, batch {batch}")


def add_row(table, cells, rounds, first):
    """Add images per second of the epochs after the first, and the ratio of the first side to them with its range."""
    ours, rates = ([median(epochs[1:]) for epochs in side] for side in (first, rounds))
    ratios = sorted(a / b for a, b in zip(ours, rates, strict=True))
    ratio = "" if rounds is first else f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    table.add_row(*cells, f"{median(rates):.0f}", ratio)


def show(table, title):
    import jax

    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, JAX {jax.__version__}")
    print(title)
    Console(width=100).print(table)


if __name__ == "__main__":
    app()
