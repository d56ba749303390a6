"""Build networks, save them and load them."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import kcnn
from kcnn import ModelSpec, weights


def pixels(side, channels=3, count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, channels)).astype("float32")


def test_build_with_a_seed_fixes_the_initial_weights_and_nothing_else():
    import random

    random.seed(5)
    expected = random.random()
    random.seed(5)
    one, same = (kcnn.build("convnet", seed=3).get_weights() for _ in range(2))
    assert random.random() == expected
    other = kcnn.build("convnet", seed=4).get_weights()
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not (one[0] == other[0]).all()


def test_build_without_a_top_ends_in_the_features():
    assert kcnn.build("vgg11", top=False, input_shape=(64, 64, 3)).output_shape == (None, 2, 2, 512)


def test_build_with_outputs_ends_in_stages_and_layers():
    model = kcnn.build("googlenet", outputs=["stage3", "inception_4a"])
    assert [t.shape[1:] for t in model.outputs] == [(28, 28, 480), (14, 14, 512)]
    stage2, stage4 = kcnn.build("resnet18", outputs=["stage2", "stage4"]).outputs
    assert (stage2.shape[1:], stage4.shape[1:]) == ((56, 56, 64), (14, 14, 256))
    with pytest.raises(ValueError, match=r"unknown stage 'stage9'; .* choose from stage0, .*, stage5, or"):
        kcnn.build("resnet18", outputs=["stage9"])
    with pytest.raises(ValueError, match=r"no layer matches 'inception_4z'. Did you mean 'inception_4.'"):
        kcnn.build("googlenet", outputs=["inception_4z"])


def test_build_with_an_open_size_takes_any_image_where_the_head_allows():
    model = kcnn.build("resnet18", input_shape=(None, None, 3), classes=4)
    assert model.predict(pixels(64), verbose=0).shape == (2, 4)
    assert model.predict(pixels(50), verbose=0).shape == (2, 4)
    with pytest.raises(ValueError, match="layer 'flatten' flattens its input"):
        kcnn.build("vgg11", input_shape=(None, None, 3))
    assert kcnn.build("vgg11", input_shape=(None, None, 3), top=False).output_shape == (None, None, None, 512)


def test_build_with_an_open_size_equals_the_fixed_network():
    fixed = kcnn.build("resnet50.torchvision", input_shape=(65, 65, 3), classes=4, seed=1)
    opened = kcnn.build("resnet50.torchvision", input_shape=(None, None, 3), classes=4, seed=1)
    np.testing.assert_allclose(
        fixed.predict(pixels(65), verbose=0), opened.predict(pixels(65), verbose=0), rtol=1e-4, atol=1e-5
    )


def test_build_with_prefixes_gives_two_copies_in_one_graph():
    left, right = (kcnn.build("convnet", prefix=prefix, classes=2) for prefix in ("left_", "right_"))
    both = keras.Model([left.input, right.input], keras.layers.concatenate([left.output, right.output]))
    assert both.count_params() == 2 * left.count_params()
    assert {"left_conv1", "right_conv1"} <= {layer.name for layer in both.layers}


def test_build_takes_overrides_and_options():
    model = kcnn.build("mobilenet_v2", width=0.35, classes=2, input_shape=(64, 64, 3), overrides={"stem.kernel": 5})
    assert model.get_layer("stem").kernel_size == (5, 5)
    assert model.get_layer("stem").filters == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "gogglenet"}, r"unknown network 'gogglenet'. Did you mean 'googlenet'"),
        ({"network": "convnet", "classes": 0}, "classes must be a positive integer, got 0"),
        (
            {"network": "convnet", "input_shape": (28, 28)},
            r"must be \(rows, columns, channels\), got \(28, 28\)",
        ),
        ({"network": "convnet", "input_shape": (5, 5, 1)}, "smallest input that fits is 12x12"),
        ({"network": "convnet", "aux": True}, "no auxiliary"),
        ({"network": "googlenet", "aux": True, "top": False}, "auxiliary classifiers need the complete network"),
        ({"network": "convnet", "outputs": "conv1"}, r"write \['conv1'\]"),
        ({"network": "convnet", "depth": 3}, "unknown option 'depth'"),
    ],
)
def test_build_refuses_a_wrong_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        kcnn.build(arguments.pop("network"), **arguments)


def test_build_of_a_graph_takes_no_more_arguments():
    graph = kcnn.trace("convnet", classes=3)
    assert kcnn.build(graph, seed=1).output_shape == (None, 3)
    with pytest.raises(ValueError, match=r"traced already; pass classes, width to kcnn.trace"):
        kcnn.build(graph, classes=5, width=2)


def test_save_weights_writes_what_build_reads(tmp_path):
    one = kcnn.build("lenet5.modern", seed=1)
    weights.save_weights(one, tmp_path / "w.safetensors")
    two = kcnn.build("lenet5.modern", weights=tmp_path / "w.safetensors", prefix="other_")
    assert all((a == b).all() for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    features = kcnn.build("lenet5.modern", top=False, weights=tmp_path / "w.safetensors")
    assert (features.get_layer("c1").get_weights()[0] == one.get_layer("c1").get_weights()[0]).all()


def test_save_weights_replaces_a_file_only_when_complete(tmp_path, monkeypatch):
    import safetensors.numpy

    target = tmp_path / "w.safetensors"
    weights.save_weights(kcnn.build("convnet", seed=1), target)
    before = target.read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        weights.save_weights(kcnn.build("convnet", seed=2), target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["lenet5", pytest.param("googlenet.bn", marks=pytest.mark.every)])
def test_load_model_predicts_the_same_in_a_new_process(name, tmp_path):
    side = max(32, kcnn.min_input_size(name))
    model = kcnn.build(name, classes=4, input_shape=(side, side, 1), seed=2)
    x = pixels(side, 1)
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "m.keras")
    code = (
        "import kcnn, numpy as np, sys; m = kcnn.load_model(sys.argv[1] + '/m.keras');"
        "np.save(sys.argv[1] + '/y.npy', m.predict(np.load(sys.argv[1] + '/x.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), atol=1e-5)


def test_build_records_the_spec_in_the_metadata(tmp_path):
    model = kcnn.build("mobilenet_v2", width=0.35, classes=7, input_shape=(32, 32, 1), overrides={"stem.kernel": 5})
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        metadata = json.loads(json.loads(archive.read("config.json"))["config"]["metadata"])
    loaded = kcnn.load_model(tmp_path / "m.keras")
    assert metadata == loaded.metadata
    assert metadata["distribution"] == "kcnn"
    assert (metadata["classes"], metadata["input_shape"]) == (7, [32, 32, 1])
    assert metadata["rescale"]["offset"] == -1.0
    spec = ModelSpec(
        network="mobilenet_v2",
        classes=7,
        input_shape=(32, 32, 1),
        options={"width": 0.35},
        overrides={"stem.kernel": 5},
    )
    assert loaded.spec == model.spec == spec
    assert kcnn.build(loaded.spec).count_params() == model.count_params()


def rewrite_config(path, change):
    """Change the config in a .keras file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config["config"])
    members["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("field", ["card", "metadata"])
def test_load_model_refuses_a_file_of_the_old_format(field, tmp_path):
    model = kcnn.build("convnet")
    model.save(tmp_path / "old.keras")

    def make_old(config):
        metadata = json.loads(config.pop("metadata"))
        config[field] = json.dumps({**metadata.pop("spec"), **metadata})

    rewrite_config(tmp_path / "old.keras", make_old)
    for read in (kcnn.load_model, lambda path: kcnn.load_weights(model, path)):
        with pytest.raises(ValueError, match=r"^\S+old.keras was written by an older version of kcnn in a format"):
            read(tmp_path / "old.keras")


def test_load_model_refuses_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="file not found: "):
        kcnn.load_model(tmp_path / "none.keras")
    (tmp_path / "torn.keras").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match="is not a Keras model, or is damaged"):
        kcnn.load_model(tmp_path / "torn.keras")
    image = keras.Input((3,))
    keras.Model(image, keras.layers.Dense(2)(image)).save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match="is a Keras model but not one of kcnn"):
        kcnn.load_model(tmp_path / "plain.keras")


def test_load_model_finds_a_distribution_whose_dash_was_renamed(install, tmp_path):
    code = "import kcnn\nfrom kcnn.blocks import conv\n"
    code += (
        "net = kcnn.Architecture(backbone=lambda x: conv(x, 4, name='one'), reference='none', input_shape=(8, 8, 3))"
    )
    install("kcnn_mynet", "kcnn_mynet", code, mynet="net")
    model = kcnn.build("mynet", classes=2)
    assert model.metadata["distribution"] == "kcnn-mynet"
    model.save(tmp_path / "new.keras")
    model.update_metadata(distribution="kcnn_mynet")  # as older versions wrote it
    model.save(tmp_path / "old.keras")
    info = tmp_path / "kcnn_mynet-1.0.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("kcnn_mynet", "kcnn-mynet"))
    kcnn.refresh_plugins()
    for file in ("new.keras", "old.keras"):
        assert kcnn.load_model(tmp_path / file).spec.network == "mynet"


FILE = """
from dataclasses import dataclass
import keras
from kcnn import Architecture, blocks

@dataclass(frozen=True)
class Gain:
    def shape(self, x):
        return x

    def layer(self, name):
        return Gained(name=name)

@keras.saving.register_keras_serializable("own_file")
class Gained(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x

def backbone(x):
    return blocks.apply(Gain(), blocks.conv(x, 4, name="conv"), name="gain")

net = Architecture(backbone=backbone, reference="", input_shape=(8, 8, 3), classes=2)
"""


def test_load_model_finds_the_file_of_a_network_that_the_user_has_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own_net.py").write_text(FILE)
    model = kcnn.build(f"{tmp_path / 'own_net.py'}:net", seed=0)
    assert model.name == "net"
    assert model.metadata["distribution"] is None
    model.save(tmp_path / "m.keras")
    x = np.ones((1, 8, 8, 3), "float32")
    for name in [name for name in sys.modules if "own_net" in name]:
        del sys.modules[name]
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "another user's"))
    with pytest.raises(ImportError, match="which you have not run: loading a file runs no code"):
        kcnn.load_model(tmp_path / "m.keras")
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    loaded = kcnn.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.spec.trace().name == "net"


def test_load_model_names_the_distribution_that_is_missing(tmp_path):
    model = kcnn.build("convnet")
    model.update_metadata(distribution="kcnn-gone", distribution_version="2.0")
    model.save(tmp_path / "m.keras")
    with pytest.raises(ImportError, match=r"'convnet' of distribution kcnn-gone 2.0, which is not installed"):
        kcnn.load_model(tmp_path / "m.keras")


def test_load_model_imports_no_foreign_module(tmp_path):
    model = kcnn.build("convnet")
    model.update_metadata(modules=["this"])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ImportError, match="needs layers of the module 'this'"):
        kcnn.load_model(tmp_path / "m.keras")
    assert "this" not in sys.modules


@pytest.mark.parametrize("name", ["convnet", "lenet5", "googlenet.bn", "mobilenet_v2"])
@pytest.mark.parametrize("policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.every), "mixed_float16"])
def test_build_under_mixed_precision_has_float32_logits(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        side = max(32, kcnn.min_input_size(name))
        model = kcnn.build(name, classes=3, input_shape=(side, side, 1), seed=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.outputs[0].dtype == "float32"
    assert all(w.dtype == "float32" for w in model.weights)
    plain = kcnn.build(name, classes=3, input_shape=(side, side, 1), seed=0)
    scale = np.abs(plain.predict(pixels(side, 1), verbose=0)).max()
    assert (
        np.abs(model.predict(pixels(side, 1), verbose=0) - plain.predict(pixels(side, 1), verbose=0)).max()
        < 0.1 * scale
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_build_under_mixed_precision_rescales_pixels_as_in_float32(policy):
    """In bfloat16 the scale 1 / 127.5 alone is 0.4% off, and the model that is saved and tested is float32."""

    def rescaled():
        model = kcnn.build("resnet18", input_shape=(32, 32, 3))
        features = keras.Model(model.input, model.get_layer("rescale").output)(pixels(32, 3))
        return model.get_layer("stem").compute_dtype, keras.ops.convert_to_numpy(features)

    keras.config.set_dtype_policy(policy)
    try:
        dtype, features = rescaled()
    finally:
        keras.config.set_dtype_policy("float32")
    assert dtype == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(features, rescaled()[1])


@pytest.mark.every
@pytest.mark.parametrize("alpha", [0.35, 0.5, 0.75, 1.3, 1.4])
def test_build_counts_of_mobilenet_v2_equal_those_of_keras_at_every_width(alpha):
    theirs = keras.applications.MobileNetV2(alpha=alpha, weights=None, input_shape=(96, 96, 3)).count_params()
    measured = kcnn.summary(kcnn.trace("mobilenet_v2", width=alpha))
    assert measured.params + measured.non_trainable_params == theirs


@pytest.mark.every
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_build_counts_of_mobilenet_v1_equal_those_of_keras_at_every_width(alpha):
    theirs = keras.applications.MobileNet(alpha=alpha, weights=None).count_params()
    measured = kcnn.summary(kcnn.trace("mobilenet_v1", width=alpha))
    assert measured.params + measured.non_trainable_params == theirs


@pytest.mark.parametrize("name", ["<lambda>", "\u00e9t\u00e9", "_private"])
def test_build_names_the_model_as_tensorflow_can(name):
    """The name of an architecture is that of its function; TensorFlow refuses models of other names in predict."""

    def body(x):
        return kcnn.blocks.conv(x, 4, name="one")

    body.__name__ = name
    model = kcnn.build(kcnn.Architecture(backbone=body, reference="none"), input_shape=(8, 8, 3), classes=2)
    assert model.predict(np.zeros((1, 8, 8, 3)), verbose=0).shape == (1, 2)
