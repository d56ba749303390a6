"""What `bench.py` compares: the same work by kcnn and by its peers, each in a process of its own.

    python benchmarks/sides.py step '["kcnn", "resnet50"]' 2   # on two cores

Prints [processor seconds, wall seconds] of one unit, a step, image or call, a line for each repetition. Child processes
count, too, once they have ended. With "wait" at the end it is a worker of `alternation.py`: it prints "ready" once it
is warm, and does a repetition for every line it reads.
"""

import json
import os
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

SIDE, BATCH = 128, 16  # of training steps
SIZE, ROWS = 224, 64  # of batches of photos
REPETITION = 1.0  # seconds, about
CROP_AREA = (0.25, 1.0)
APPLICATIONS = {"resnet50.keras": "ResNet50", "mobilenet_v2": "MobileNetV2", "inception_v3": "InceptionV3"}


def repeat(work, warm):
    """Print the seconds of one unit in each repetition, of about REPETITION seconds; `work` returns its units.

    The last call that warms up tells how often a repetition calls `work`.
    """
    for _ in range(warm):
        units, _, wall = take_seconds(work, 1)
    calls = max(1, round(REPETITION / wall))
    waits = sys.argv[4:] == ["wait"]
    if waits:
        answer("ready")
    for _ in sys.stdin if waits else range(5):
        units, processor, wall = take_seconds(work, calls)
        answer(json.dumps([processor / units, wall / units]))


def print_once(work, repetitions=1):
    """Print the seconds of one unit of what only a new process can show, in each repetition."""
    for _ in range(repetitions):
        units, processor, wall = take_seconds(work, 1)
        answer(json.dumps([processor / units, wall / units]))


def take_seconds(work, calls):
    """Return the units of some calls, and their seconds of processor and wall."""
    processor, wall = processor_seconds(), time.perf_counter()
    units = sum(work() for _ in range(calls))
    return units, processor_seconds() - processor, time.perf_counter() - wall


def answer(line):
    print(line, file=ANSWERS, flush=True)


def processor_seconds():
    """Processor time of this process and of the child processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def threads():
    return len(os.sched_getaffinity(0))


def build_model(library, name, *, side=SIDE, classes=10):
    if library == "kcnn":
        import kcnn

        return kcnn.build(name, classes=classes, input_shape=(side, side, 3))
    import keras

    options = {"classes": classes, "input_shape": (side, side, 3), "classifier_activation": None}
    return getattr(keras.applications, APPLICATIONS[name])(weights=None, **options)


def torch_model(name, classes=10):
    import torch
    import torchvision

    torch.set_num_threads(threads())
    name = name.removesuffix(".torchvision")  # kcnn's variant of the same network
    extra = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, name)(num_classes=classes, **extra)
    return torch, model.to(memory_format=torch.channels_last)


def step(library, name, in_bfloat16=False):
    """A training step at 128x128, batch 16, SGD with momentum, float32; or mixed_bfloat16, but by "float32"."""
    if library == "torch":
        torch, model = torch_model(name)
        model.train()
        x = torch.rand(BATCH, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
        y, loss = torch.randint(0, 10, (BATCH,)), torch.nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)

        def work():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                value = loss(model(x), y)
            value.backward()
            optimizer.step()
            return 1

    else:
        import keras
        import tensorflow as tf

        if in_bfloat16 and library != "float32":
            keras.config.set_dtype_policy("mixed_bfloat16")
        x, y, model = make_step("keras" if library == "keras" else "kcnn", name)
        function = tf.function(lambda: model.train_step((x, y)))

        def work():
            function()
            return 1

    repeat(work, warm=4)


def product(library):
    """Two matrices of 2048x2048 multiplied by TensorFlow, 17.2 GFLOP: what a processor reaches in float32."""
    import tensorflow as tf

    matrix = tf.random.normal((2048, 2048))
    function = tf.function(lambda: tf.matmul(matrix, matrix))

    def work():
        function()
        return 1

    repeat(work, warm=2)


def make_step(library, name):
    import keras
    import numpy as np
    import tensorflow as tf

    model, random = build_model(library, name), np.random.default_rng(0)
    x = tf.constant(random.uniform(0, 255, (BATCH, SIDE, SIDE, 3)), "float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, jit_compile=False)
    return x, tf.constant(random.integers(0, 10, BATCH)), model


def first_step(library, name):
    """`fit` with one step, of a new model: it is traced and compiled."""
    x, y, model = make_step(library, name)

    def work():
        model.fit(x, y, batch_size=BATCH, steps_per_epoch=1, verbose=0)
        return 1

    print_once(work)


def build(library, name):
    """A new model with random weights."""

    def work():
        build_model(library, name, side=SIZE, classes=1000)
        return 1

    repeat(work, warm=2)


def predict_one(library, name, is_optimized=False):
    """`predict` of one image, by kcnn also of the network that is optimized for inference."""
    import numpy as np

    model, x = build_model(library, name, side=SIZE, classes=1000), np.zeros((1, SIZE, SIZE, 3), "float32")
    if is_optimized and library == "kcnn":
        import kcnn

        model = kcnn.optimize_for_inference(model)

    def work():
        return len(model.predict(x, verbose=0))

    repeat(work, warm=4)


def photos(library, augmentation, folder):
    """An epoch of batches of 64 photos at 224x224 from train/ in a folder: decoded, cropped and augmented.

    Keras' last batch is smaller; the others leave those photos out, so each image that a side gives counts.
    """
    batches = {"kcnn": kcnn_photos, "keras": keras_photos}.get(library)
    loader = batches(augmentation, folder) if batches else torch_photos(library, augmentation, folder)
    repeat(lambda: sum(len(batch[0]) for batch in loader), warm=1)


def kcnn_photos(augmentation, folder):
    from kcnn import data
    from kcnn.augment import Augmentation
    from kcnn.data import loading

    loading.MEMORY_SHARE, loading.AHEAD = 0.0, 0  # every epoch decodes, as those of the peers do
    changes = Augmentation(**AUGMENTATIONS[augmentation])
    found = data.load(folder, input_shape=(SIZE, SIZE, 3), batch_size=ROWS, resize_factor=changes.resize_factor)
    return found.train_and_validation.epochs(0, 1, changes)  # the peers read all of train/, too


AUGMENTATIONS = {
    "none": {},
    "standard": {"flip": True, "resized_crop": CROP_AREA},
    "strong": {"flip": True, "resized_crop": CROP_AREA, "rand_augment": (2, 0.5), "erase": 0.25, "mixup": 0.2},
}


def keras_photos(augmentation, folder):
    import keras
    import tensorflow as tf

    size = {"image_size": (SIZE, SIZE), "crop_to_aspect_ratio": True}
    found = keras.utils.image_dataset_from_directory(Path(folder, "train"), batch_size=ROWS, verbose=False, **size)
    if augmentation == "none":
        return found.prefetch(tf.data.AUTOTUNE)
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomZoom((-0.5, 0.0))]
    mix = keras.layers.MixUp(alpha=0.2)
    if augmentation == "strong":
        layers += [keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.5)]
        layers += [keras.layers.RandomErasing(factor=0.25, value_range=(0, 255))]

    def change(images, labels):
        for layer in layers:
            images = layer(images, training=True)
        if augmentation == "strong":
            mixed = mix({"images": images, "labels": tf.one_hot(labels, 2)}, training=True)
            return mixed["images"], mixed["labels"]
        return images, labels

    return found.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def torch_photos(library, augmentation, folder):
    import torch

    torch.set_num_threads(threads())
    make = {"torchvision": torchvision_set, "timm": timm_set, "albumentations": albumentations_set}[library]
    dataset, mix = make(augmentation, str(Path(folder, "train")))
    workers = threads() if threads() > 1 else 0
    loader = torch.utils.data.DataLoader(dataset, ROWS, shuffle=True, drop_last=True, num_workers=workers)

    class Mixed:
        def __iter__(self):
            return (mix(*batch) for batch in loader) if mix else iter(loader)

    return Mixed()


def torchvision_set(augmentation, folder):
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.PILToTensor()]
    if augmentation == "none":
        steps = [v2.Resize(SIZE), v2.CenterCrop(SIZE), *steps]
    else:
        steps = [v2.RandomResizedCrop(SIZE, scale=CROP_AREA), v2.RandomHorizontalFlip(), *steps]
    mix = None
    if augmentation == "strong":
        steps = [*steps[:2], v2.RandAugment(2, 15), steps[2], v2.RandomErasing(0.25)]
        mix = v2.MixUp(alpha=0.2, num_classes=2)
    steps.append(v2.ToDtype(__import__("torch").float32))
    return ImageFolder(folder, v2.Compose(steps)), mix


def timm_set(augmentation, folder):
    import timm.data
    from torchvision.datasets import ImageFolder

    mix = None
    if augmentation == "none":
        change = timm.data.create_transform(SIZE, is_training=False, crop_pct=1.0, interpolation="bilinear")
    else:
        strong = {"auto_augment": "rand-m5-n2", "re_prob": 0.25, "re_mode": "pixel"} if augmentation == "strong" else {}
        strong = strong or {"color_jitter": None}
        change = timm.data.create_transform(
            SIZE, is_training=True, scale=CROP_AREA, hflip=0.5, interpolation="bilinear", **strong
        )
        if augmentation == "strong":
            mix = timm.data.Mixup(mixup_alpha=0.2, num_classes=2)
    return ImageFolder(folder, change), mix


def albumentations_set(augmentation, folder):
    import albumentations
    import cv2
    import torch
    from torchvision.datasets import ImageFolder

    steps = [albumentations.RandomResizedCrop((SIZE, SIZE), scale=CROP_AREA), albumentations.HorizontalFlip()]
    change = albumentations.Compose(steps)

    def load(path):
        return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)

    def to_tensor(image):
        return torch.from_numpy(change(image=image)["image"]).permute(2, 0, 1).float()

    return ImageFolder(folder, to_tensor, loader=load), None


def classes(library, folder):
    """Photos of a folder to the classes that a saved MobileNet v2 at 224x224, with random weights, gives them."""
    paths = sorted(str(path) for path in Path(folder).rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name, "model.keras"))
        if library == "torch":
            torch, model = torch_model("mobilenet_v2", classes=1000)
            torch.save(model.state_dict(), path)
            work = partial(torch_classes, path, paths)
        else:
            build_model(library, "mobilenet_v2", side=SIZE, classes=1000).save(path)
            work = partial({"kcnn": kcnn_classes, "keras": keras_classes}[library], path, paths, folder)
        print_once(work)


def kcnn_classes(model, paths, folder):
    import kcnn

    return len(kcnn.predict(model, paths))


def keras_classes(model, paths, folder):
    import keras

    found = keras.utils.image_dataset_from_directory(
        folder, labels=None, shuffle=False, image_size=(SIZE, SIZE), crop_to_aspect_ratio=True, verbose=False
    )
    return len(keras.saving.load_model(model).predict(found, verbose=0).argmax(axis=1))


def torch_classes(state, paths):
    from PIL import Image
    from torchvision.transforms import v2

    torch, model = torch_model("mobilenet_v2", classes=1000)
    model.load_state_dict(torch.load(state))
    model.eval()
    change = v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE), v2.PILToTensor(), v2.ToDtype(torch.float32)])
    found = []
    with torch.inference_mode():
        for first in range(0, len(paths), 32):
            images = torch.stack([change(Image.open(path).convert("RGB")) for path in paths[first : first + 32]])
            found += model(images).argmax(dim=1).tolist()
    return len(found)


def command(*words):
    """A command as a process."""
    import subprocess

    def work():
        subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True)
        return 1

    print_once(work, 3)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as kcnn's command line does, here for both sides
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[3])])  # before a library counts them
    globals()[sys.argv[1]](*json.loads(sys.argv[2]))
