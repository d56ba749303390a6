"""Measure images per second of a training step: kcnn, keras.applications and torchvision, in alternating processes.

    python benchmarks/train.py                            # all networks, 3 rounds, about 40 minutes on 2 cores
    python benchmarks/train.py resnet50 --rounds 5
    python benchmarks/train.py --torch ~/torch/bin/python # torchvision from another environment
    python benchmarks/train.py googlenet --profile        # which operations a step's time goes to

At 128x128, batch 16, float32, SGD with momentum; torchvision with channels last, Keras' networks with oneDNN on both
sides. "Unfused" is kcnn with Keras' own code of batch normalization instead of TensorFlow's fused kernel. A library
that lacks the network, or is not installed, has an empty cell. Images are per second of wall time, or with --processor
of processor time of all threads; ratios are medians over the rounds.

On 2 AVX-512 cores beside other work, two rounds, images per second of processor time and the ratio to Keras' network
and to kcnn's unfused: EfficientNet-B0 28.1 (1.52, 1.43), ConvNeXt-Tiny 7.2 (4.65, 1.00: it has no batch normalization,
and Keras computes its depthwise convolutions as grouped ones), DenseNet-121 13.8 (1.40, 1.39).

By the profiler of either library (--profile), the 57 convolutions of GoogLeNet are 73% of a step's operations in
TensorFlow and 80% in torch, and both compute them with oneDNN; pooling took 9% and 3%. bench.py has the ratios.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

NETWORKS = {  # kcnn's, keras.applications', torchvision's
    "resnet50": ("resnet50.torchvision", "ResNet50", "resnet50"),
    "mobilenet_v2": ("mobilenet_v2", "MobileNetV2", "mobilenet_v2"),
    "googlenet": ("googlenet.torchvision", None, "googlenet"),
    "vgg11": ("vgg11.torchvision", None, "vgg11"),
    "efficientnet_b0": ("efficientnet_b0", "EfficientNetB0", "efficientnet_b0"),
    "convnext_tiny": ("convnext_tiny", "ConvNeXtTiny", "convnext_tiny"),
    "densenet121": ("densenet121", "DenseNet121", "densenet121"),
}
KINDS = {"kcnn": "kcnn", "unfused": "unfused", "keras": "keras.applications", "torch": "torchvision"}
PEERS = tuple(KINDS)[1:]
SIDE, BATCH, WARM, STEPS = 128, 16, 3, 8
OPERATIONS = {
    "convolution": ("conv",),
    "batch norm": ("batchnorm", "batch_norm"),
    "pooling": ("pool",),
    "others": ("",),
}

KERAS = r"""
import sys, time, json, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"; os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
import keras, numpy as np, tensorflow as tf
kind, name, side, batch, warm, steps, profile, processor = json.loads(sys.argv[1])
clock = time.process_time if processor else time.perf_counter
shape = (side, side, 3)
if kind in ("kcnn", "unfused"):
    import kcnn
    if kind == "unfused":
        from kcnn.keras_bridge.layers import BatchNormalization
        BatchNormalization.call = keras.layers.BatchNormalization.call
    model = kcnn.build(name, classes=10, input_shape=shape)
else:
    model = getattr(keras.applications, name)(weights=None, classes=10, input_shape=shape, classifier_activation=None)
rng = np.random.default_rng(0)
x = tf.constant(rng.uniform(0, 255, (batch, *shape)), "float32"); y = tf.constant(rng.integers(0, 10, batch))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, jit_compile=False)
step = tf.function(lambda: model.train_step((x, y)))
for _ in range(warm): step()
begun = clock()
for _ in range(steps): step()
print(batch * steps / (clock() - begun))
if profile:
    import glob, re, tempfile
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace
    folder = tempfile.mkdtemp()
    tf.profiler.experimental.start(folder)
    for _ in range(steps): step()
    tf.profiler.experimental.stop()
    space = XSpace.FromString(open(glob.glob(folder + "/**/*.xplane.pb", recursive=True)[0], "rb").read())
    taken = [(plane.event_metadata[event.metadata_id].name, event.duration_ps / 1e9)
             for plane in space.planes if "CPU" in plane.name for line in plane.lines for event in line.events]
    named = [(re.match(r"[^:#]+:(_?[A-Z]\w*)", name), ms) for name, ms in taken]  # node:Operation
    print(json.dumps([(match[1], ms) for match, ms in named if match]))
"""
TORCH = """
import sys, time, json
import torch, torchvision
kind, name, side, batch, warm, steps, profile, processor = json.loads(sys.argv[1])
clock = time.process_time if processor else time.perf_counter
extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
model = getattr(torchvision.models, name)(num_classes=10, **extra).train().to(memory_format=torch.channels_last)
torch.manual_seed(0)
x = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last); y = torch.randint(0, 10, (batch,))
optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9); loss = torch.nn.CrossEntropyLoss()
def step():
    optimizer.zero_grad(); loss(model(x), y).backward(); optimizer.step()
for _ in range(warm): step()
begun = clock()
for _ in range(steps): step()
print(batch * steps / (clock() - begun))
if profile:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(steps): step()
    print(json.dumps([(event.key, event.self_cpu_time_total / 1e3) for event in found.key_averages()]))
"""


def run(python: str, code: str, kind: str, name: str, *, profile: bool = False, processor: bool = False) -> list[str]:
    """Return what a new process prints: images per second, and with `profile` milliseconds by operation."""
    request = json.dumps([kind, name, SIDE, BATCH, WARM, STEPS, profile, processor])
    return subprocess.run([python, "-c", code, request], check=True, capture_output=True, text=True).stdout.splitlines()


def compute_fractions(operations: list[tuple[str, float]]) -> dict[str, float]:
    """Return the fraction of the time that each kind of operation took."""
    taken: Counter[str] = Counter()
    for name, milliseconds in operations:
        taken[next(kind for kind, parts in OPERATIONS.items() if any(p in name.lower() for p in parts))] += milliseconds
    return {kind: taken[kind] / taken.total() for kind in OPERATIONS}


def has_torchvision(python: str) -> bool:
    return not subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode


def main(
    networks: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(NETWORKS)}.")] = None,
    rounds: int = 3,
    torch: Annotated[str, typer.Option(help="A Python that has torch and torchvision.")] = sys.executable,
    profile: Annotated[bool, typer.Option("--profile", help="Print fractions of a step's time instead.")] = False,
    processor: Annotated[bool, typer.Option("--processor", help="Count processor time.")] = False,
) -> None:
    with_torch = has_torchvision(torch)
    if not with_torch:
        print(f"torchvision is not installed for {torch}: it is left out")
    rates = Table("network", *KINDS.values(), *(f"times {KINDS[kind]}" for kind in PEERS))
    parts = Table("network", "library", *OPERATIONS)
    for name in networks or NETWORKS:
        ours, keras, torchs = NETWORKS[name]
        sides = [(sys.executable, KERAS, "kcnn", ours), (sys.executable, KERAS, "unfused", ours)]
        sides += [(sys.executable, KERAS, "keras", keras)] if keras else []
        sides += [(torch, TORCH, "torch", torchs)] if with_torch else []
        if profile:
            for side in sides:
                fractions = compute_fractions(json.loads(run(*side, profile=True)[-1]))
                parts.add_row(name, side[2], *(f"{fraction:.0%}" for fraction in fractions.values()))
        else:
            rates.add_row(name, *compare(sides, rounds, processor))
    measure = "fractions of the time of operations" if profile else f"images per {'processor ' * processor}second"
    Console().print(f"{measure}, training at {SIDE}x{SIDE}, batch {BATCH}, {os.cpu_count()} cores")
    Console().print(parts if profile else rates)


def compare(sides: list[tuple[str, str, str, str]], rounds: int, processor: bool) -> list[str]:
    """Return images per second of each library, and how many times as fast the first is."""
    measured: dict[str, list[float]] = {kind: [] for *_, kind, _ in sides}
    for _ in range(rounds):
        for side in sides:
            measured[side[2]].append(float(run(*side, processor=processor)[-1]))
    ratios = {k: median(a / b for a, b in zip(measured["kcnn"], v, strict=True)) for k, v in measured.items()}
    rates = [f"{median(measured[k]):.1f}" if k in measured else "" for k in KINDS]
    return [*rates, *(f"{ratios[k]:.2f}" if k in ratios else "" for k in PEERS)]


if __name__ == "__main__":
    typer.run(main)
