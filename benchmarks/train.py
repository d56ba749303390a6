"""Images per second of a training step: kcnn, keras.applications and torchvision, in processes of their own, in turn.

    python benchmarks/train.py                            # all networks, 3 rounds, about 20 minutes on 2 cores
    python benchmarks/train.py resnet50 --rounds 5
    python benchmarks/train.py --torch ~/torch/bin/python # torchvision from another environment

At 128x128, batch 16, float32, SGD with momentum; torchvision with channels last, Keras' networks with oneDNN on both
sides. A library that lacks the network, or is not installed, has no figure. Ratios are medians over the rounds.

GoogLeNet is level with torchvision's and not ahead: by the profiler of either library, four fifths of its step are its
57 convolutions, and both compute them with oneDNN. Max pooling took 8 % in TensorFlow and 5 % in torch.
"""

import json
import os
import subprocess
import sys
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
}
SIDE, BATCH, WARM, STEPS = 128, 16, 3, 8

KERAS = """
import sys, time, json, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"; os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
import keras, numpy as np, tensorflow as tf
kind, name, side, batch, warm, steps = json.loads(sys.argv[1])
shape = (side, side, 3)
if kind == "kcnn":
    import kcnn
    model = kcnn.build(name, classes=10, input_shape=shape)
else:
    model = getattr(keras.applications, name)(weights=None, classes=10, input_shape=shape, classifier_activation=None)
rng = np.random.default_rng(0)
x = tf.constant(rng.uniform(0, 255, (batch, *shape)), "float32"); y = tf.constant(rng.integers(0, 10, batch))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, jit_compile=False)
step = tf.function(lambda: model.train_step((x, y)))
for _ in range(warm): step()
begun = time.perf_counter()
for _ in range(steps): step()
print(batch * steps / (time.perf_counter() - begun))
"""
TORCH = """
import sys, time, json
import torch, torchvision
kind, name, side, batch, warm, steps = json.loads(sys.argv[1])
extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
model = getattr(torchvision.models, name)(num_classes=10, **extra).train().to(memory_format=torch.channels_last)
torch.manual_seed(0)
x = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last); y = torch.randint(0, 10, (batch,))
optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9); loss = torch.nn.CrossEntropyLoss()
def step():
    optimizer.zero_grad(); loss(model(x), y).backward(); optimizer.step()
for _ in range(warm): step()
begun = time.perf_counter()
for _ in range(steps): step()
print(batch * steps / (time.perf_counter() - begun))
"""


def rate(python: str, code: str, kind: str, name: str) -> float:
    """Images per second in a fresh process."""
    asked = json.dumps([kind, name, SIDE, BATCH, WARM, STEPS])
    done = subprocess.run([python, "-c", code, asked], check=True, capture_output=True)
    return float(done.stdout.split()[-1])


def has_torchvision(python: str) -> bool:
    return not subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode


def main(
    networks: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(NETWORKS)}.")] = None,
    rounds: int = 3,
    torch: Annotated[str, typer.Option(help="A Python that has torch and torchvision.")] = sys.executable,
) -> None:
    with_torch = has_torchvision(torch)
    if not with_torch:
        print(f"torchvision is not installed for {torch}: no figures of it")
    table = Table("network", "kcnn", "keras.applications", "torchvision", "times keras", "times torch")
    for name in networks or NETWORKS:
        ours, keras, torchs = NETWORKS[name]
        sides = [(sys.executable, KERAS, "kcnn", ours)]
        sides += [(sys.executable, KERAS, "keras", keras)] if keras else []
        sides += [(torch, TORCH, "torch", torchs)] if with_torch else []
        found: dict[str, list[float]] = {kind: [] for *_, kind, _ in sides}
        for _ in range(rounds):
            for side in sides:
                found[side[2]].append(rate(*side))
        ratios = {k: median(a / b for a, b in zip(found["kcnn"], v, strict=True)) for k, v in found.items()}
        rates = [f"{median(found[k]):.1f}" if k in found else "" for k in ("kcnn", "keras", "torch")]
        table.add_row(name, *rates, *(f"{ratios[k]:.2f}" if k in ratios else "" for k in ("keras", "torch")))
    Console().print(f"images a second, training at {SIDE}x{SIDE}, batch {BATCH}, {os.cpu_count()} cores")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
