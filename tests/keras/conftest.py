"""Two CPU devices for tests of strategies, before TensorFlow creates its first tensor, and a small network."""

import pytest
import tensorflow as tf

import kcnn

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session")
def strategy():
    """Return the only MirroredStrategy of this process: a second one breaks Keras' fit."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="module")
def convnet():
    return kcnn.build("convnet", seed=1)
