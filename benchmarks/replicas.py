"""How far two devices differ from one, and from the same images in another order: whether that is rounding.

    python benchmarks/replicas.py               # GoogLeNet with batch normalization on random images, two CPU devices
    python benchmarks/replicas.py resnet20 --size 32

Two devices add up a batch in another order than one does, as one device does with its images in another order. What is
rounding is as large for both in float32, and gone in float64.
"""

from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
import typer

import kcnn
from kcnn import distribute
from kcnn.cli import script
from kcnn.training import sgd

CLASSES, BATCH, STEPS = 10, 16, 4


def train(strategy: tf.distribute.Strategy, network: str, images: np.ndarray, labels: np.ndarray) -> tuple:
    """Return the gradients of the first step, and the losses of all."""
    dtype = keras.config.floatx()
    with strategy.scope():
        backbone = kcnn.build(network, seed=0, input_shape=images.shape[2:], top=False)
        x = keras.layers.GlobalAveragePooling2D()(backbone.output)
        x = keras.layers.Dense(CLASSES, kernel_initializer=keras.initializers.GlorotUniform(0))(x)
        model = keras.Model(backbone.input, x)  # the logits of kcnn are float32
        distribute.synchronize_batch_norm(strategy, model)
        optimizer = sgd(0.1)
        optimizer.build(model.trainable_variables)
    variables = model.trainable_variables

    def step(x: tf.Tensor, y: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            log_probabilities = tf.nn.log_softmax(model(x, training=True))
            loss = -tf.reduce_sum(tf.one_hot(y, CLASSES, dtype=dtype) * log_probabilities) / BATCH
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply(gradients, variables)
        return loss, tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)

    run = tf.function(lambda x, y: tuple(strategy.reduce("SUM", v, axis=None) for v in strategy.run(step, (x, y))))
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).unbatch().batch(BATCH)
    results = [run(x, y) for x, y in strategy.experimental_distribute_dataset(batches)]
    return results[0][1].numpy(), np.array([float(loss) for loss, _ in results])


def main(
    network: Annotated[str, typer.Argument(help="A network.")] = "googlenet.bn",
    size: Annotated[int, typer.Option(help="Rows and columns of the images.")] = 64,
) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = distribute.make_strategy("single"), distribute.make_strategy("mirrored", ["CPU:0", "CPU:1"])
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (STEPS, BATCH, size, size, 3))
    labels, order = rng.integers(0, CLASSES, (STEPS, BATCH)), rng.permutation(BATCH)
    for dtype in ("float32", "float64"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        x = images.astype(dtype)
        gradient, losses = train(one, network, x, labels)
        for name, result in (
            ("two devices", train(two, network, x, labels)),
            ("another order", train(one, network, x[:, order], labels[:, order])),
        ):
            change = np.linalg.norm(result[0] - gradient) / np.linalg.norm(gradient)
            changes = ", ".join(f"{change:.1e}" for change in abs(result[1] / losses - 1))
            print(f"{dtype} {name:<14} gradient {change:.1e}, loss of each step {changes}", flush=True)


if __name__ == "__main__":
    script(main)
