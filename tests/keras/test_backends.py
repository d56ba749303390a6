"""Networks on the other backends of Keras, each in a process of its own."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from safetensors.numpy import save

from tests import hidden
from tests.hub import serve
from tests.keras.test_parity_torch import NETWORKS, build_state, relative_difference
from tests.parity.seeded import CLASSES, pixels

BUILD = """
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
assert np.allclose(kcnn.load_model("model.keras").predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-4)
names = ("googlenet", "googlenet.torchvision", "resnet18", "mobilenet_v2", "lenet5", "convnext_atto")
for name in (*names, "alexnet.torchvision", "resnet20", "mobilenet_v3_small", "convnext_v2_atto"):
    side = max(32, kcnn.min_input_size(name))
    shape = (side, side, 1 if name == "lenet5" else 3)
    small = kcnn.build(name, classes=3, input_shape=shape)
    image = x[:2, :1, :1].repeat(side, 1).repeat(side, 2).repeat(shape[2], 3)
    assert small.predict(image, verbose=0).shape == (2, 3)
    assert not kcnn.diff(kcnn.trace(name, classes=3, input_shape=shape), kcnn.from_keras(small)), name
assert "tensorflow" not in sys.modules
"""


@pytest.mark.every
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_build_on_another_backend_needs_no_tensorflow(backend, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    hidden.run(BUILD, backend, backend=backend, cwd=tmp_path)


FINE_TUNE = """
import sys
import keras, kcnn, numpy as np
from kcnn import ModelSpec
from kcnn.explain import TrainingStatistics, activations, grad_cam, measure_receptive_field, occlusion
from kcnn.fine_tuning import replace_head
from kcnn.training import audit_weights, feature_cache, resolve_lr_multipliers, sgd, unfreeze
assert keras.backend.backend() == sys.argv[1]
spec = ModelSpec(network="resnet20", options={"units": 1}, input_shape=(16, 16, 1))
model = replace_head(spec, classes=["a", "b"], seed=0)
unfreeze(model, 1)
factors = resolve_lr_multipliers(model, {"stage3_*": 0.0, "head": 1.0})
model.compile(sgd(0.1, lr_multipliers=factors), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
x = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1)).astype("float32")
with audit_weights(model) as rows:
    model.fit(x, np.arange(8) % 2, verbose=0)
assert {row.tensor for row in rows if row.changed} == {"logits/kernel", "logits/bias"}
assert {row.tensor for row in rows if row.allowed} > {"stage3_unit1_a/kernel"}
layer = feature_cache.find_frozen_output(model)
frozen = keras.Model(model.inputs[0], model.get_layer(layer).output)
logits = feature_cache.build_head(model, layer).predict(frozen.predict(x, verbose=0), verbose=0)
assert np.allclose(logits, model.predict(x, verbose=0), atol=1e-5)
heat = grad_cam(model, x)
assert heat.shape == (8, 16, 16) and heat.min() >= 0 and 0 < heat.max() <= 1
assert grad_cam(model, x, layer="stage2_unit1_a").shape == (8, 16, 16)
assert activations(model, x, "stage?_unit1")["stage3_unit1"].shape == (8, 4, 4, 64)
assert occlusion(model, x[:2], patch=8).shape == (2, 16, 16)
assert measure_receptive_field(model, "stage2_unit1").agrees
assert measure_receptive_field(kcnn.optimize_for_inference(model), "stage1_unit1_b").agrees
statistics = TrainingStatistics(x[:4], np.arange(4) % 2, path="statistics.csv", every=2)
model.fit(x, np.arange(8) % 2, verbose=0, batch_size=2, callbacks=[statistics])
norms = {(row["step"], row["layer"]): row["gradient_norm"] for row in statistics.rows}
assert {step for step, _ in norms} == {3, 5}, norms  # one step was done before
assert norms[3, "logits"] > 0 and norms[3, "logits"] != norms[5, "logits"], norms
assert norms[3, "stem"] is None
assert "tensorflow" not in sys.modules
"""


@pytest.mark.every
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_freeze_and_explain_on_another_backend_need_no_tensorflow(backend, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    hidden.run(FINE_TUNE, backend, backend=backend, cwd=tmp_path)


MULTI_LABEL = """
import sys
import keras, kcnn, numpy as np
from kcnn import data, training
assert keras.backend.backend() == sys.argv[1]
labels = np.random.default_rng(0).integers(0, 2, (160, 2))
images = np.full((160, 8, 8, 1), 60, "uint8")
images[labels[:, 0] == 1, :4] += 120
images[labels[:, 1] == 1, 4:] += 120
dataset = data.load((images, labels), input_shape=(32, 32, 1), batch_size=16, multi_label=True)
config = training.TrainConfig(recipe="quick", epochs=6, batch_size=16, learning_rate=3e-3)
run = training.train("lenet5.modern", dataset, config, out="run")
assert run.metrics["mean_average_precision"] > 0.9, run.metrics
assert run.history[-1]["val_average_precision"] > 0.9, run.history
assert "tensorflow" not in sys.modules
"""


@pytest.mark.every
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_train_of_several_labels_on_another_backend_needs_no_tensorflow(backend, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    hidden.run(MULTI_LABEL, backend, backend=backend, cwd=tmp_path)


HUB = """
import sys
import keras, kcnn, numpy as np
from kcnn import data, training
assert keras.backend.backend() == sys.argv[1]
model = kcnn.build("hf://timm/resnet18.a1_in1k")
np.save("logits.npy", model.predict(np.load("pixels.npy"), verbose=0))
labels = np.arange(40) % 2
images = np.full((40, 32, 32, 3), 60, "uint8")
images[labels == 1, :16] += 120
dataset = data.load((images, labels), input_shape=(32, 32, 3), batch_size=8, classes=("dark", "light"))
for name, timm_name in (("convnet", None), ("lcnet_0_5", "lcnet_050")):
    run = training.train(name, dataset, training.TrainConfig(epochs=1, batch_size=8), out=f"runs/{name}")
    published = run.publish(f"published/{name}", license="mit")
    assert published.timm_name == timm_name
    trained = kcnn.load_model(f"runs/{name}/model.keras")
    again = kcnn.build(f"local-dir:{published.folder}")
    expected = trained.predict(images[:4].astype("float32"), verbose=0)
    np.testing.assert_allclose(again.predict(images[:4].astype("float32"), verbose=0), expected, rtol=1e-4, atol=1e-5)
    assert kcnn.predict(published.folder, images[:4]).labels == kcnn.predict(trained, images[:4]).labels
assert "tensorflow" not in sys.modules
"""


@pytest.mark.every
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_hub_and_publish_on_another_backend_need_no_tensorflow(backend, tmp_path, monkeypatch):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    output = NETWORKS["resnet18.torchvision"]["outputs"][-1]
    size = output["size"]
    about = {"input_size": [3, *size], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "license": "mit"}
    config = {"architecture": "resnet18", "num_classes": CLASSES, "pretrained_cfg": about}
    server = serve()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(build_state("resnet18.torchvision"))}
    server.add("timm/resnet18.a1_in1k", files)
    np.save(tmp_path / "pixels.npy", pixels(*size))
    hidden.run(HUB, backend, backend=backend, cwd=tmp_path)
    server.shutdown()
    assert relative_difference(np.load(tmp_path / "logits.npy"), output["logits"]) <= 1e-4
