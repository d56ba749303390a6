"""The same networks on Keras' other backends, each in a process of its own."""

from importlib.util import find_spec

import pytest

from tests import hidden

CODE = """
import sys
import keras, kcnn, numpy as np
assert keras.backend.backend() == sys.argv[1]
x = np.random.default_rng(0).uniform(0, 255, (8, 65, 65, 1)).astype("float32")
y = np.arange(8) % 3
model = kcnn.build("googlenet.bn", classes=3, input_shape=(65, 65, 1), aux=True, seed=0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
history = model.fit(x, y, epochs=3, batch_size=8, verbose=0).history
assert history["loss"][-1] < history["loss"][0], history["loss"]
assert {"aux1_loss", "aux2_accuracy"} <= set(history), history
assert np.isfinite(model.predict(x, verbose=0)).all()
model.save("model.keras")
assert np.allclose(kcnn.load("model.keras").predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-4)
names = ("googlenet", "googlenet.torchvision", "resnet18", "mobilenet_v2", "lenet5")
for name in (*names, "alexnet.torchvision", "resnet20", "mobilenet_v3_small"):
    side = max(32, kcnn.smallest_input(name))
    shape = (side, side, 1 if name == "lenet5" else 3)
    small = kcnn.build(name, classes=3, input_shape=shape)
    image = x[:2, :1, :1].repeat(side, 1).repeat(side, 2).repeat(shape[2], 3)
    assert small.predict(image, verbose=0).shape == (2, 3)
    assert not kcnn.diff(kcnn.draw(name, classes=3, input_shape=shape), kcnn.read(small)), name
assert "tensorflow" not in sys.modules
"""


@pytest.mark.every
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_googlenet_builds_trains_and_predicts_on_another_backend_without_tensorflow(backend, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    hidden.run(CODE, backend, backend=backend, cwd=tmp_path)
