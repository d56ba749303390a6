"""Configure two CPU devices for tests of strategies, before TensorFlow creates its first tensor."""

import pytest
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session")
def strategy():
    """Return the only MirroredStrategy of this process: a second one breaks Keras' fit."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
