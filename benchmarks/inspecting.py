"""Cost of kcnn.explain.TrainingStatistics, sampling every 50 steps of a training; and seconds of each explanation.

    python benchmarks/inspecting.py                       # three networks, 3 rounds
    python benchmarks/inspecting.py resnet20 --rounds 5

Keras' fit on random images, 50 steps of 32, with a sample of 8 images at the first. The ratio is of the seconds of the
fit to those without what the callback took, so that other load on the machine is in both; a first fit, in which
TensorFlow prepares its kernels, does not count. Medians over the rounds.

One run on 2 cores (AVX2) that others shared, 3 rounds; explanations of one image:

                        50 steps   ratio   from    to       Grad-CAM   occlusion   measured receptive field
    convnet, 32x32        0.69 s   1.031   1.021   1.083      0.01 s      0.01 s      0.01 s
    resnet20, 32x32       3.10 s   1.046   1.037   1.096      0.04 s      0.10 s      0.13 s
    googlenet.bn, 64x64   9.67 s   1.042   1.030   1.066      0.26 s      0.35 s      0.48 s

On a GPU there is one more cost: Keras waits for each step's loss while a callback is not async_safe.

(The file is not called inspect.py: Python would take it for the standard library's in every script of this folder.)
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

NETWORKS = {"convnet": (32, 1), "resnet20": (32, 3), "googlenet.bn": (64, 3)}  # side, channels
EVERY = 50

CODE = r"""
import sys, time, json, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"; os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
import keras, numpy as np
import kcnn
from kcnn.explain import TrainingStatistics, grad_cam, measure_receptive_field, occlusion
name, side, channels, rounds, every = json.loads(sys.argv[1])
model = kcnn.build(name, classes=10, input_shape=(side, side, channels), seed=0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
rng = np.random.default_rng(0)
x = rng.uniform(0, 255, (32 * every, side, side, channels)).astype("float32")
y = rng.integers(0, 10, len(x))
class Timed(TrainingStatistics):
    seconds = 0.0
    def _timed(self, function, *args):
        start = time.perf_counter(); function(*args); self.seconds += time.perf_counter() - start
    def on_train_begin(self, logs=None): self._timed(super().on_train_begin, logs)
    def on_train_batch_end(self, batch, logs=None): self._timed(super().on_train_batch_end, batch, logs)
    def on_epoch_end(self, epoch, logs=None): self._timed(super().on_epoch_end, epoch, logs)
taken = []
for number in range(rounds + 1):
    watch = Timed(x[:8], y[:8], every=every)
    start = time.perf_counter()
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[watch])
    if number: taken.append((time.perf_counter() - start, watch.seconds))
seconds = {}
def measure(name, function):
    function()
    start = time.perf_counter(); function(); seconds[name] = time.perf_counter() - start
layer = [one.name for one in model.layers if len(one.output.shape) == 4][-1]
measure("grad_cam", lambda: grad_cam(model, x[:1]))
measure("occlusion", lambda: occlusion(model, x[:1]))
measure("receptive_field", lambda: measure_receptive_field(model, layer))
print(json.dumps([taken, seconds]))
"""


def main(
    networks: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(NETWORKS)}.")] = None, rounds: int = 3
) -> None:
    table = Table("network", f"{EVERY} steps, s", "ratio", "ratios", "Grad-CAM", "occlusion", "receptive field")
    for name in networks or NETWORKS:
        request = json.dumps([name, *NETWORKS[name], rounds, EVERY])
        done = subprocess.run([sys.executable, "-c", CODE, request], check=True, capture_output=True, text=True)
        taken, seconds = json.loads(done.stdout.splitlines()[-1])
        ratios = [total / (total - callback) for total, callback in taken]
        table.add_row(
            name,
            f"{median(total - callback for total, callback in taken):.2f}",
            f"{median(ratios):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            *(f"{seconds[name]:.2f} s" for name in ("grad_cam", "occlusion", "receptive_field")),
        )
    Console(width=120).print(f"statistics every {EVERY} steps of 32 images, {os.cpu_count()} cores", table)


if __name__ == "__main__":
    typer.run(main)
