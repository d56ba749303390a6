"""Measure the speed of kcnn.data beside keras.utils.image_dataset_from_directory, in the same process.

    python benchmarks/input.py                  # everything, about 10 minutes on 2 cores
    python benchmarks/input.py plain strong     # or start, bound
    python benchmarks/input.py plain --folder photos/   # a folder of class folders of your own

Rates are medians; ratios are medians of pairs that alternate, so that they hold when the machine's speed drifts.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sample_photos import write_photos
from speed import show

import kcnn
from kcnn import data
from kcnn.augment import Augmentation
from kcnn.training import CrossEntropy

SIDE, BATCH = 224, 64
STRONG = Augmentation(flip=True, resized_crop=(0.25, 1.0), rand_augment=(2, 0.5), erase=0.25, mixup=0.2, cutmix=1.0)
PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE}


def ours(folder, *, kept, resize_factor=1.0):
    """The dataset; decoded images are kept in memory or never."""
    loading = sys.modules["kcnn.data.loading"]
    share, ahead = loading.MEMORY_SHARE, loading.AHEAD
    loading.MEMORY_SHARE, loading.AHEAD = (share if kept else 0.0), 0
    try:
        return data.load(folder, input_shape=(SIDE, SIDE, 3), batch_size=BATCH, resize_factor=resize_factor)
    finally:
        loading.MEMORY_SHARE, loading.AHEAD = share, ahead


def theirs(folder):
    train = folder / "train" if (folder / "train").is_dir() else folder
    return keras.utils.image_dataset_from_directory(
        train, image_size=(SIDE, SIDE), batch_size=BATCH, crop_to_aspect_ratio=True, verbose=False
    )


def rate(batches):
    """Images per second until the last batch: an autotuned iterator may take more seconds to end."""
    start, iterator = time.perf_counter(), iter(batches)
    count = sum(len(batch[1]) for batch in iterator)
    return count / (time.perf_counter() - start)


def rates(a, b, runs):
    """Images per second of two datasets, and the speedup of the first."""
    pairs = [(rate(a), rate(b)) for _ in range(runs + 1)][1:]
    mine, other = (median(side) for side in zip(*pairs, strict=True))
    return f"{mine:.0f}", f"{other:.0f}", f"{median(x / y for x, y in pairs):.2f}"


def plain(folder, runs=5):
    """Without augmentation: every epoch decoded from disk by both, and later epochs from memory by kcnn.

    kcnn shrinks with antialiasing, which the peer's resize lacks, and decodes JPEG at a fraction of its size where that
    is enough.
    """
    fresh, kept, peer = ours(folder, kept=False), ours(folder, kept=True), theirs(folder).prefetch(tf.data.AUTOTUNE)
    rows = [
        ("decoded from disk", *rates(fresh.train, peer, runs)),
        ("second epoch, kept in memory", *rates(kept.train, peer, runs)),
    ]
    with tempfile.TemporaryDirectory() as name:
        large = write_photos(Path(name), (1600, 1200), 3 * BATCH + 28)
        fresh, peer = ours(large, kept=False), theirs(large).prefetch(tf.data.AUTOTUNE)
        rows.append(("photos of 1600x1200 from disk", *rates(fresh.train, peer, runs)))
    show(f"images per second at {SIDE}x{SIDE}, batch {BATCH}", COLUMNS, rows)


def keras_layers():
    """The layers of Keras for what STRONG does, on images and one-hot labels."""
    layers = keras.layers
    mixing = [layers.MixUp(alpha=0.2, seed=5), layers.CutMix(factor=1.0, seed=6)]
    alone = [
        layers.RandomFlip("horizontal", seed=1),
        layers.RandomZoom((-0.5, 0.0), seed=2),
        layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.5, seed=3),
        layers.RandomErasing(factor=0.25, value_range=(0, 255), seed=4),
    ]

    def change(images, labels):
        for layer in alone:
            images = layer(images, training=True)
        batch = {"images": images, "labels": tf.one_hot(labels, 2)}
        mixed = tf.cond(tf.random.uniform([]) < 0.5, *(lambda one=one: one(batch, training=True) for one in mixing))
        return mixed["images"], mixed["labels"]

    return change


def strong(folder, runs=2):
    """With strong augmentation: from disk, and on images in memory."""
    fresh, kept = (ours(folder, kept=one, resize_factor=STRONG.resize_factor) for one in (False, True))
    change, read = keras_layers(), theirs(folder)
    memory = theirs(folder).cache()

    def mapped(batches):
        return batches.map(change, **PARALLEL).prefetch(tf.data.AUTOTUNE)

    rows = [
        ("decoded from disk", *rates(fresh.epochs(0, 1, STRONG), mapped(read), runs)),
        ("images in memory for both", *rates(kept.epochs(0, 1, STRONG), mapped(memory), runs)),
    ]
    show(f"images per second at {SIDE}x{SIDE}, batch {BATCH}, strongly augmented", COLUMNS, rows)


def bound(folder, names=("mobilenet_v1", "squeezenet1_0", "resnet18"), runs=3):
    """Training from photos on disk, strongly augmented, beside training on one batch in memory."""
    fresh, rows = ours(folder, kept=False, resize_factor=STRONG.resize_factor), []
    (batch,) = fresh.epochs(0, 1, STRONG).take(1)
    memory = tf.data.Dataset.from_tensors(batch).repeat(fresh.steps)
    for name in names:
        model = kcnn.build(name, classes=2)
        model.compile("sgd", CrossEntropy(), jit_compile=False)

        def seconds(epoch, model=model, data=None):
            start = time.perf_counter()
            model.fit(fresh.epochs(epoch, epoch + 1, STRONG) if data is None else data, verbose=0, shuffle=False)
            return time.perf_counter() - start

        pairs = [(seconds(run), seconds(run, data=memory)) for run in range(runs + 1)][1:]
        images = fresh.steps * BATCH
        mine, other = (images / median(side) for side in zip(*pairs, strict=True))
        ratios = [there / here for here, there in pairs]
        macs = kcnn.summary(name).macs / 1e9
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append(
            (name, f"{macs:.2f}", f"{rate(fresh.epochs(0, 1, STRONG)):.0f}", f"{mine:.1f}", f"{other:.1f}", spread)
        )
    columns = ("network", "GMACs", "input alone", "trained from photos", "from memory", "times as fast")
    show(f"images per second at {SIDE}x{SIDE}, batch {BATCH}, strongly augmented", columns, rows)


def first_batch(folder, count=60_000):
    """From the call to the first training batch, of a folder of many small files; TensorFlow is loaded."""
    with tempfile.TemporaryDirectory() as name:
        for i in range(count):
            path = Path(name, f"class{i % 10}", f"{i}.jpg")
            if i < 10:
                path.parent.mkdir()
            image = np.full((32, 32, 3), (i % 251, i // 251, 0), "uint8")
            Image.fromarray(image).save(path)

        def first():
            start = time.perf_counter()
            found = data.load(name, input_shape=(32, 32, 3), batch_size=BATCH)
            next(iter(found.epochs(0, 1)))
            return time.perf_counter() - start

        def peer():
            start = time.perf_counter()
            found = keras.utils.image_dataset_from_directory(name, image_size=(32, 32), batch_size=BATCH, verbose=False)
            next(iter(found))
            return time.perf_counter() - start

        pairs = [(first(), peer()) for _ in range(4)]
        a, b = (median(side) for side in zip(*pairs[1:], strict=True))
        rows = [("first call", *(f"{s:.2f} s" for s in pairs[0]), f"{pairs[0][1] / pairs[0][0]:.1f}")]
        rows.append(("later calls", f"{a:.2f} s", f"{b:.2f} s", f"{median(y / x for x, y in pairs[1:]):.1f}"))
        show(f"from the call to the first batch of {count:,} files", COLUMNS, rows)


COLUMNS = ("what", "kcnn", "image_dataset_from_directory", "speedup")

if __name__ == "__main__":
    parts = {"plain": plain, "strong": strong, "start": first_batch, "bound": bound}
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("parts", nargs="*", help="plain, strong, start, bound; without one all")
    options.add_argument("--folder", type=Path, help="class folders of photos, or train/ and test/ with them")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for part in given.parts or parts:
            count = (6 if part in ("strong", "bound") else 24) * BATCH
            parts[part](given.folder or write_photos(Path(name, part), count=count))
