"""Compare training in bfloat16 with training in float32 on a CPU: the time of a step, and the accuracy in the end.

    python benchmarks/precision.py speed                          # every case, one core, about 15 minutes
    python benchmarks/precision.py accuracy                       # digits, as `make demo` trains, with 8 seeds
    python benchmarks/precision.py accuracy --cifar cifar/ --fashion tfds:fashion_mnist

Steps alternate in one process, pinned to a core; a ratio is float32 over bfloat16 in the same pass, the median.
Trainings with the same seed have the same splits, images and initial weights; differences are paired by seed, with 95%
intervals (Student's t). The test images are classified in float32 by both.

Milliseconds of processor of a step in float32 and bfloat16, and the ratio, on one core of an AMD EPYC with AVX512_BF16,
TensorFlow 2.21, the second core at work on other things; without depthwise and grouped convolutions:

    resnet20            32x32x3   128   330.1   214.6  1.53   densenet121         128x128x3  16  1062.7   645.5  1.64
    resnet56            32x32x3   128  1079.6   707.6  1.52   darknet53           128x128x3  16  2301.7  1382.1  1.67
    resnet18            32x32x3    64   176.8   152.0  1.17   dla34               128x128x3  16   948.2   564.1  1.67
    resnet18            64x64x3    32   297.5   219.0  1.38   repvgg_a0           128x128x3  16   514.7   332.0  1.55
    googlenet.bn        64x64x1    32   241.6   168.1  1.43   squeezenet1_1       128x128x3  16   100.5    65.8  1.54
    vgg16               64x64x3    32  2230.8  1226.7  1.83   ese_vovnet39b       128x128x3  16  2093.9  1206.1  1.75
    vgg11               128x128x3  16  2278.9  1223.2  1.87   resnet50x1_bit      128x128x3  16  1882.2  1327.7  1.41
    googlenet.bn        128x128x3  16   502.0   311.3  1.61   inception_resnet_v2 128x128x3   8   896.8   672.4  1.34
    resnet18            128x128x3  16   552.8   335.8  1.65   lenet5              32x32x1    64     6.4     6.6  0.96
    seresnet50          128x128x3  16  1369.8   910.7  1.51   convnet             28x28x1    64     4.2     3.2  1.35
    res2net50_26w_4s    128x128x3  16  1609.0  1121.6  1.44   resnet50            224x224x3   4  1040.8   654.3  1.61
    inception_v3        128x128x3  16   724.2   482.9  1.51

With them (AlexNet has two groups; mobilenet_v4 is conv_medium):

    alexnet             227x227x3  16  3307.5  3130.4  1.05   convmixer_768_32    64x64x3     8  1605.2  1581.0  1.01
    ese_vovnet19b_dw    128x128x3  16   523.4   353.9  1.48   shufflenet_v2_x1_0  128x128x3  16   137.4   237.3  0.58
    xception            128x128x3  16  1631.4  1144.8  1.43   mobilenet_v4        128x128x3  16   395.0   596.1  0.66
    convnext_atto       128x128x3  16   326.6   394.5  0.83   efficientnet_b0     128x128x3  16   351.2   670.6  0.53
    convnext_tiny       128x128x3  16  1948.3  1840.8  1.05   efficientnet_v2_b0  128x128x3  16   334.3   346.6  0.96
    alexnet             128x128x3  16   863.3   826.2  1.04   mobilenet_v2        128x128x3  16   194.4   291.3  0.67

Test accuracy, mean over seeds from 0 (4 of cifar 64x64: 0, 1, 2 and 4), and how much better bfloat16 is, in points:

    digits        98.95%   99.06%   +0.11 (-0.45 to +0.66)
    fashion       87.33%   87.35%   +0.02 (-0.28 to +0.31)
    cifar         60.71%   60.79%   +0.08 (-0.17 to +0.33)
    cifar 64x64   53.59%   53.45%   -0.14 (-1.17 to +0.88)
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

import kcnn
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.graph.names import unknown
from kcnn.statistics import compare_paired, estimate_mean

POLICIES = ("float32", "mixed_bfloat16")
PASSES, PASS_SECONDS = 5, 0.5
CASES = """
    lenet5 32x32x1 64, convnet 28x28x1 64, resnet20 32x32x3 128, resnet56 32x32x3 128, resnet18 32x32x3 64,
    resnet18 64x64x3 32, googlenet.bn 64x64x1 32, vgg16 64x64x3 32, alexnet 128x128x3 16, alexnet 227x227x3 16,
    vgg11 128x128x3 16, googlenet.bn 128x128x3 16, inception_v3 128x128x3 16, resnet18 128x128x3 16,
    resnet50 224x224x3 4, resnet50x1_bit 128x128x3 16, seresnet50 128x128x3 16, res2net50_26w_4s 128x128x3 16,
    inception_resnet_v2 128x128x3 8, densenet121 128x128x3 16, darknet53 128x128x3 16, dla34 128x128x3 16,
    repvgg_a0 128x128x3 16, squeezenet1_1 128x128x3 16, ese_vovnet39b 128x128x3 16,
    ese_vovnet19b_dw 128x128x3 16, xception 128x128x3 16, convnext_atto 128x128x3 16, convnext_tiny 128x128x3 16,
    convmixer_768_32 64x64x3 8, shufflenet_v2_x1_0 128x128x3 16, mobilenet_v2 128x128x3 16,
    mobilenet_v4_conv_medium 128x128x3 16, efficientnet_b0 128x128x3 16, efficientnet_v2_b0 128x128x3 16
"""


@dataclass(frozen=True)
class Task:
    """A training whose accuracy is measured: a function of the seed, the precision and a folder."""

    name: str
    train: Callable[[int, str, Path], float]


def train_default(
    spec: kcnn.ModelSpec, source: str, images: int | None, epochs: int, seed: int, precision: str, out: Path
) -> float:
    """Return the test accuracy of kcnn's default training."""
    from kcnn.data import load
    from kcnn.training import TrainConfig, train

    data = load(source, input_shape=spec.nominal_shape, seed=seed)
    if images:
        data = data.subset(train=images, validation=images // 9)
    config = TrainConfig(seed=seed, epochs=epochs, precision=precision)
    return train(spec, data, config, out=out, verbose=0).metrics["accuracy"]


def list_tasks(cifar: str | None, fashion: str | None) -> Iterator[Task]:
    """Yield the tasks whose images are there."""

    def make(network: str, shape: tuple[int, int, int], **options: Any) -> kcnn.ModelSpec:
        return kcnn.ModelSpec(network=network, input_shape=shape, options=options)

    yield Task("digits", partial(train_default, make("googlenet.bn", (64, 64, 1)), "digits", None, 8))
    if cifar:
        yield Task("cifar", partial(train_default, make("resnet20", (32, 32, 3), units=1), cifar, 5_000, 20))
        yield Task("cifar 64x64", partial(train_default, make("resnet18", (64, 64, 3)), cifar, 2_000, 10))
    if fashion:
        yield Task("fashion", partial(train_default, make("resnet20", (28, 28, 1), units=1), fashion, 6_000, 15))


def compare_accuracies(tasks: Sequence[Task], seeds: int) -> None:
    """Print the test accuracies of each task, paired by seed."""
    import keras

    for task in tasks:
        scores: dict[str, list[float]] = {policy: [] for policy in POLICIES}
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(seeds):
                for policy in POLICIES:
                    scores[policy].append(task.train(seed, policy, Path(folder, policy, f"seed-{seed}")))
                    keras.backend.clear_session()  # models would accumulate in memory
                last = ", ".join(f"{policy} {scores[policy][-1]:.2%}" for policy in POLICIES)
                print(f"{task.name}, seed {seed}: {last}", flush=True)
        one, other = (scores[policy] for policy in POLICIES)
        means = ", ".join(f"{policy} {estimate_mean(scores[policy]).mean:.2%}" for policy in POLICIES)
        print(f"{task.name}: {means}, mixed_bfloat16 is better by {compare_paired(other, one)}", flush=True)


def compare_steps(only: Sequence[str]) -> None:
    """Print the processor time of a training step of each case, and its ratio."""
    import keras

    for case in CASES.split(","):
        network, shape, batch = case.split()
        if only and network not in only:
            continue
        size = tuple(map(int, shape.split("x")))
        steps = {policy: make_step(network, size, int(batch), policy) for policy in POLICIES}
        times: dict[str, list[float]] = {policy: [] for policy in POLICIES}
        count = max(1, int(PASS_SECONDS / time_step(steps["float32"], 1)))
        for number in range(PASSES):
            for policy in POLICIES[:: -1 if number % 2 else 1]:
                times[policy].append(time_step(steps[policy], count))
        ratio = median(a / b for a, b in zip(*times.values(), strict=True))
        milliseconds = " ".join(f"{1e3 * median(one):8.1f}" for one in times.values())
        print(f"{network:25} {shape:10} {batch:>4} {milliseconds} {ratio:6.2f}", flush=True)
        keras.backend.clear_session()


def make_step(network: str, shape: tuple[int, ...], batch: int, policy: str) -> Callable[[], Any]:
    """Return a training step in a dtype policy, traced and warm."""
    import keras
    import tensorflow as tf

    from kcnn.training.precision import apply_policy

    random = np.random.default_rng(0)
    with apply_policy(policy):
        model = kcnn.build(network, input_shape=shape, classes=10)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, jit_compile=False)
        x = tf.constant(random.uniform(0, 255, (batch, *shape)), "float32")
        y = tf.constant(random.integers(0, 10, batch))
        step = tf.function(lambda: model.train_step((x, y)))
        for _ in range(2):
            step()
    return step


def time_step(work: Callable[[], Any], count: int) -> float:
    """Return the processor seconds of one repetition."""
    start = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - start) / count


def main(
    measure: Annotated[str, typer.Argument(help="speed or accuracy.")],
    cifar: Annotated[str | None, typer.Option(help="Folder of CIFAR-10, or tfds:cifar10.")] = None,
    fashion: Annotated[str | None, typer.Option(help="tfds:fashion_mnist, or a folder.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A network, or a task whose images are given; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 8,
) -> None:
    """Compare training in bfloat16 with training in float32 on a CPU."""
    if measure not in ("speed", "accuracy"):
        raise ValueError(f'expected "speed" or "accuracy", got {measure!r}')
    tasks = list(list_tasks(cifar, fashion))
    known = [case.split()[0] for case in CASES.split(",")] if measure == "speed" else [task.name for task in tasks]
    for name in set(only or ()) - set(known):
        raise unknown("network" if measure == "speed" else "task", name, known)
    if measure == "speed":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before TensorFlow counts the cores
        start_backend()
        compare_steps(only or ())
    else:
        start_backend()
        compare_accuracies([task for task in tasks if not only or task.name in only], seeds)


if __name__ == "__main__":
    script(main)
