"""Inference latency per image: optimized networks in each runtime, beside keras.applications' predict and PyTorch.

    python benchmarks/infer.py                            # both networks, batch sizes 1 and 32, 5 rounds
    python benchmarks/infer.py mobilenet_v2 --batch-size 1
    python benchmarks/infer.py --torch ~/torch/bin/python # torchvision from another environment

At 224x224, random weights, oneDNN on for both sides of TensorFlow. Within a round every runtime runs once; figures are
medians over the rounds. The networks are keras.applications' own, optimized and exported by kcnn.export; LiteRT and
ONNX Runtime are used if they are installed (kcnn[litert,onnx]).

One run on 2 cores (AVX2), times as fast as keras.applications' predict; in brackets its milliseconds an image:

                         MobileNet v2, 1 (98.6)   32 (21.2)   ResNet-50, 1 (226)   32 (81.9)
    optimized, predict                  0.74        1.58             0.75            1.05
    predict_on_batch                    2.02        2.04             1.40            1.15
    SavedModel                          6.24        1.97             2.98            1.27
    LiteRT                             15.29        3.13             3.88            1.37
    LiteRT int8                        14.12        3.21             3.92            1.45
    ONNX                               13.97        2.90             3.67            1.43
    torchvision                         3.41        0.86             1.97            0.85

Keras' predict spends 60 to 110 ms on each call before it computes; for one image use predict_on_batch or a file.
There oneDNN's fused kernels are slow for one image where a ReLU6, or an addition and a ReLU, follow a convolution:
10.3 ms for MobileNet's first expansion, and 0.7 ms with the same two operations apart, as they are in a file, whose
weights are constants. keras.applications' graph has batch norms in between and is not fused, so for one image an
optimized model under predict is the slower one. PyTorch (channels last, inference_mode) is faster than Keras' predict
for one image, and slower than every exported file in all four columns.
"""

import json
import os
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

NETWORKS = {"mobilenet_v2": ("MobileNetV2", "mobilenet_v2"), "resnet50": ("ResNet50", "resnet50")}
BASE = "keras.applications, predict"

OURS = r"""
import sys, time, json, os, tempfile
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"; os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
from importlib.util import find_spec
from pathlib import Path
from statistics import median
import keras, numpy as np
import kcnn
from kcnn.export.formats import export_model
from kcnn.export.runtimes import load_exported
name, batches, rounds = json.loads(sys.argv[1])
threads, folder = os.cpu_count(), Path(tempfile.mkdtemp())
theirs = getattr(keras.applications, name)(weights=None)
x = np.random.default_rng(0).uniform(0, 255, (max(batches), 224, 224, 3)).astype("uint8")
optimized = kcnn.optimize_for_inference(theirs)
runtimes = {
    "keras.applications, predict": lambda x: theirs.predict(x.astype("float32"), verbose=0),
    "optimized, predict": lambda x: optimized.predict(x.astype("float32"), verbose=0),
    "optimized, predict_on_batch": lambda x: optimized.predict_on_batch(x.astype("float32")),
}
files = {"optimized, saved_model": "saved_model"}
if find_spec("ai_edge_litert"):
    files |= {"optimized, litert": "litert", "optimized, litert-int8": "litert-int8"}
if find_spec("onnxruntime"):
    files["optimized, onnx"] = "onnx"
for runtime, format in files.items():
    path = export_model(theirs, folder / format, format, calibration_images=x[:8])
    runtimes[runtime] = load_exported(path, threads=threads).run
for batch in batches:
    images, taken = x[:batch], {runtime: [] for runtime in runtimes}
    times = max(1, 16 // batch)
    for number in range(rounds + 1):  # the first warms up
        for runtime, run in runtimes.items():
            start = time.perf_counter()
            for _ in range(times): run(images)
            if number:
                taken[runtime].append(1e3 * (time.perf_counter() - start) / times / batch)
    print(json.dumps([batch, {runtime: median(each) for runtime, each in taken.items()}]), flush=True)
"""
TORCH = """
import sys, time, json, os
from statistics import median
import torch, torchvision
name, batches, rounds = json.loads(sys.argv[1])
model = getattr(torchvision.models, name)().eval().to(memory_format=torch.channels_last)
for batch in batches:
    x = torch.rand(batch, 3, 224, 224).to(memory_format=torch.channels_last)
    taken, times = [], max(1, 16 // batch)
    with torch.inference_mode():
        for number in range(rounds + 1):
            start = time.perf_counter()
            for _ in range(times): model(x)
            taken.append(1e3 * (time.perf_counter() - start) / times / batch)
    print(json.dumps([batch, {"torchvision, channels last": median(taken[1:])}]), flush=True)
"""


def run(python: str, code: str, name: str, batches: list[int], rounds: int) -> dict[int, dict[str, float]]:
    """Milliseconds an image by batch size and runtime, from a fresh process."""
    request = json.dumps([name, batches, rounds])
    done = subprocess.run([python, "-c", code, request], check=True, capture_output=True, text=True)
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def main(
    networks: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(NETWORKS)}.")] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="Batch sizes; 1 and 32 by default.")] = None,
    rounds: int = 5,
    torch: Annotated[str, typer.Option(help="A Python that has torch and torchvision.")] = sys.executable,
) -> None:
    batches = batch_size or [1, 32]
    with_torch = not subprocess.run([torch, "-c", "import torchvision"], capture_output=True, check=False).returncode
    if not with_torch:
        print(f"torchvision is not installed for {torch}: no figures of it")
    table = Table("network", "batch size", "runtime", "ms an image", "speedup")
    for name in networks or NETWORKS:
        theirs, torchs = NETWORKS[name]
        ours = run(sys.executable, OURS, theirs, batches, rounds)
        others = run(torch, TORCH, torchs, batches, rounds) if with_torch else {}
        for size in batches:
            taken = {**ours[size], **others.get(size, {})}
            for runtime, milliseconds in taken.items():
                table.add_row(name, str(size), runtime, f"{milliseconds:.1f}", f"{taken[BASE] / milliseconds:.2f}")
    Console().print(f"inference at 224x224, {os.cpu_count()} cores")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
