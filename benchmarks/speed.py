"""Measure the speed of kcnn: without Keras, and beside keras.applications for the same networks in one process.

    python benchmarks/speed.py                # everything, about 10 minutes on 2 cores
    python benchmarks/speed.py graph build    # or train, onednn

Times are medians; ratios are medians of pairs that alternate, so that they hold when the machine's speed drifts.
"""

import gc
import os
import subprocess
import sys
import time
from statistics import median

from rich.console import Console
from rich.table import Table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does, here for both sides
PEERS = {  # the same network in keras.applications
    "resnet50.keras": "ResNet50",
    "mobilenet_v2": "MobileNetV2",
    "vgg16": "VGG16",
    "inception_v3": "InceptionV3",
    "efficientnet_b0": "EfficientNetB0",
    "convnext_tiny": "ConvNeXtTiny",
    "densenet121": "DenseNet121",
}


def seconds(function):
    gc.collect()  # or one side collects the garbage of the other
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternating(ours, theirs, runs):
    """Median seconds of each, and the median of theirs / ours pair by pair; the first pair warms up."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(runs + 1)][1:]
    a, b = zip(*pairs, strict=True)
    return median(a), median(b), median(y / x for x, y in pairs)


def graph():
    """Processes, and tracing and summaries in this one."""
    import kcnn

    code = "import time; t = time.perf_counter(); import kcnn; print(time.perf_counter() - t)"
    imports = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(9)]
    command = [sys.executable, "-c", "from kcnn.cli import main; main()", "summary", "googlenet"]
    summaries = [seconds(lambda: subprocess.check_output(command)) for _ in range(9)]
    rows = [
        ("import kcnn", f"{median(imports) * 1e3:.0f} ms"),
        ("kcnn summary googlenet", f"{median(summaries):.2f} s"),
    ]
    slowest = {}
    for name in kcnn.list_models():
        traced = kcnn.trace(name)
        slowest[name] = median(seconds(lambda traced=traced: kcnn.summary(traced)) for _ in range(7))
    name = max(slowest, key=slowest.get)
    rows.append((f"summary of a graph, slowest of {len(slowest)}: {name}", f"{slowest[name] * 1e3:.1f} ms"))
    both = median(seconds(lambda: kcnn.summary(name)) for _ in range(7))
    rows.append((f"trace and summary of {name}", f"{both * 1e3:.1f} ms"))
    show("without Keras", ("what", "median"), rows)


def build():
    """Building the same network, without pretrained weights."""
    import keras

    import kcnn

    rows = []
    for name, theirs in PEERS.items():
        a, b, ratio = alternating(
            lambda name=name: kcnn.build(name),
            lambda theirs=theirs: getattr(keras.applications, theirs)(weights=None),
            15,
        )
        rows.append((name, f"{a:.2f} s", f"{b:.2f} s", f"{ratio:.2f}"))
    show("build", ("network", "kcnn", "keras.applications", "speedup"), rows)


def train(side=128, batch=16, steps=4, runs=9):
    """Training steps: images per second at 128x128, batch 16, with SGD."""
    import keras
    import numpy as np
    import tensorflow as tf

    import kcnn

    rng = np.random.default_rng(0)
    x = tf.constant(rng.uniform(0, 255, (batch, side, side, 3)), "float32")
    y = tf.constant(rng.integers(0, 10, batch))

    def stepper(model, logits):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
        step = tf.function(lambda: model.train_step((x, y)))
        return lambda: [step() for _ in range(steps)]

    rows = []
    for name, theirs in (("resnet50.keras", "ResNet50"), ("mobilenet_v2", "MobileNetV2")):
        ours = stepper(kcnn.build(name, classes=10, input_shape=(side, side, 3)), True)
        peer = getattr(keras.applications, theirs)(weights=None, classes=10, input_shape=(side, side, 3))
        a, b, ratio = alternating(ours, stepper(peer, False), runs)
        rate = batch * steps
        rows.append((name, f"{rate / a:.1f}", f"{rate / b:.1f}", f"{ratio:.2f}"))
    show(f"training, images per second at {side}x{side}", ("network", "kcnn", "keras.applications", "speedup"), rows)


def onednn():
    """A training step of the demo's GoogLeNet with and without the kernels of oneDNN, in separate processes."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import speed, kcnn, keras, numpy as np, tensorflow as tf;"
        "x = tf.constant(np.random.default_rng(0).uniform(0, 255, (32, 64, 64, 1)), 'float32'); y = tf.range(32) % 10;"
        "m = kcnn.build('googlenet.bn', classes=10, input_shape=(64, 64, 1));"
        "m.compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False);"
        "f = tf.function(lambda: m.train_step((x, y))); f();"
        "print(32 / speed.median(speed.seconds(f) for _ in range(8)))"
    )
    rates = {"0": [], "1": []}
    for _ in range(3):
        for switch, measured in rates.items():
            environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": switch}
            command = [sys.executable, "-c", code, os.path.dirname(os.path.abspath(__file__))]
            measured.append(float(subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL)))
    ratio = median(b / a for a, b in zip(rates["0"], rates["1"], strict=True))
    off, on = (f"{median(measured):.0f}" for measured in rates.values())
    show(
        "training googlenet.bn at 64x64, images per second",
        ("without oneDNN", "with", "speedup"),
        [(off, on, f"{ratio:.2f}")],
    )


def show(title, columns, rows):
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    parts = {"graph": graph, "build": build, "train": train, "onednn": onednn}
    for name in sys.argv[1:] or parts:
        parts[name]()
