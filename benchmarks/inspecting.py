"""What kcnn.explain.Statistics costs a training that it samples every 50 steps; and seconds that a look takes.

    python benchmarks/inspecting.py                       # three networks, 3 rounds
    python benchmarks/inspecting.py resnet20 --rounds 5

Keras' fit on random pictures, 50 steps of 32, with a sample of 8 pictures at the first. The ratio is of the seconds of
the whole fit to those that are left without what the callback took, so that other load on the machine is in both; a
first fit, in which TensorFlow makes its kernels ready, does not count. Medians over the rounds.

One run on 2 cores (AVX2) that others shared, 3 rounds; one look at one picture:

                        50 steps   ratio   from    to       Grad-CAM   occlusion   measured field
    convnet, 32x32        0.69 s   1.031   1.021   1.083      0.01 s      0.01 s      0.01 s
    resnet20, 32x32       3.10 s   1.046   1.037   1.096      0.04 s      0.10 s      0.13 s
    googlenet.bn, 64x64   9.67 s   1.042   1.030   1.066      0.26 s      0.35 s      0.48 s

On a GPU there is one cost more: Keras waits for each step's loss as long as a callback is there that is not async_safe.

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
from kcnn.explain import Statistics, grad_cam, measured_field, occlusion
name, side, channels, rounds, every = json.loads(sys.argv[1])
model = kcnn.build(name, classes=10, input_shape=(side, side, channels), seed=0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
rng = np.random.default_rng(0)
x = rng.uniform(0, 255, (32 * every, side, side, channels)).astype("float32")
y = rng.integers(0, 10, len(x))
class Timed(Statistics):
    seconds = 0.0
    def _timed(self, function, *args):
        begun = time.perf_counter(); function(*args); self.seconds += time.perf_counter() - begun
    def on_train_begin(self, logs=None): self._timed(super().on_train_begin, logs)
    def on_train_batch_end(self, batch, logs=None): self._timed(super().on_train_batch_end, batch, logs)
    def on_epoch_end(self, epoch, logs=None): self._timed(super().on_epoch_end, epoch, logs)
taken = []
for number in range(rounds + 1):
    watch = Timed(x[:8], y[:8], every=every)
    begun = time.perf_counter()
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[watch])
    if number: taken.append((time.perf_counter() - begun, watch.seconds))
looks = {}
def look(word, function):
    function()
    begun = time.perf_counter(); function(); looks[word] = time.perf_counter() - begun
layer = [one.name for one in model.layers if len(one.output.shape) == 4][-1]
look("grad_cam", lambda: grad_cam(model, x[:1]))
look("occlusion", lambda: occlusion(model, x[:1]))
look("field", lambda: measured_field(model, layer))
print(json.dumps([taken, looks]))
"""


def main(
    networks: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(NETWORKS)}.")] = None, rounds: int = 3
) -> None:
    found = Table("network", f"{EVERY} steps, s", "ratio", "ratios", "Grad-CAM", "occlusion", "field")
    for name in networks or NETWORKS:
        asked = json.dumps([name, *NETWORKS[name], rounds, EVERY])
        done = subprocess.run([sys.executable, "-c", CODE, asked], check=True, capture_output=True, text=True)
        taken, looks = json.loads(done.stdout.splitlines()[-1])
        ratios = [whole / (whole - inside) for whole, inside in taken]
        found.add_row(
            name,
            f"{median(whole - inside for whole, inside in taken):.2f}",
            f"{median(ratios):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            *(f"{looks[word]:.2f} s" for word in ("grad_cam", "occlusion", "field")),
        )
    Console(width=120).print(f"statistics every {EVERY} steps of 32 pictures, {os.cpu_count()} cores", found)


if __name__ == "__main__":
    typer.run(main)
