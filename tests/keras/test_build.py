"""kcnn.build and kcnn.load, with all they take."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import kcnn
from kcnn import weights


def pixels(side, channels=3, count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, channels)).astype("float32")


def test_a_seed_fixes_the_initial_weights_and_nothing_else():
    import random

    random.seed(5)
    wanted = random.random()
    random.seed(5)
    one, same = (kcnn.build("convnet", seed=3).get_weights() for _ in range(2))
    assert random.random() == wanted
    other = kcnn.build("convnet", seed=4).get_weights()
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not (one[0] == other[0]).all()


def test_without_a_top_a_network_ends_in_its_features():
    assert kcnn.build("vgg11", top=False, input_shape=(64, 64, 3)).output_shape == (None, 2, 2, 512)


def test_taps_give_stages_and_layers_as_outputs():
    model = kcnn.build("googlenet", outputs=["stage3", "inception_4a"])
    assert [t.shape[1:] for t in model.outputs] == [(28, 28, 480), (14, 14, 512)]
    stage2, stage4 = kcnn.build("resnet18", outputs=["stage2", "stage4"]).outputs
    assert (stage2.shape[1:], stage4.shape[1:]) == ((56, 56, 64), (14, 14, 256))
    with pytest.raises(ValueError, match="there is no stage9; there are stage0, stage1"):
        kcnn.build("resnet18", outputs=["stage9"])
    with pytest.raises(ValueError, match="no layer is named 'inception_4z'; the nearest are inception_4"):
        kcnn.build("googlenet", outputs=["inception_4z"])


def test_open_rows_and_columns_take_any_image_where_the_head_allows():
    model = kcnn.build("resnet18", input_shape=(None, None, 3), classes=4)
    assert model.predict(pixels(64), verbose=0).shape == (2, 4)
    assert model.predict(pixels(50), verbose=0).shape == (2, 4)
    with pytest.raises(ValueError, match="layer 'flatten' flattens its input"):
        kcnn.build("vgg11", input_shape=(None, None, 3))
    assert kcnn.build("vgg11", input_shape=(None, None, 3), top=False).output_shape == (None, None, None, 512)


def test_an_open_network_equals_the_fixed_one():
    fixed = kcnn.build("resnet50.torchvision", input_shape=(65, 65, 3), classes=4, seed=1)
    opened = kcnn.build("resnet50.torchvision", input_shape=(None, None, 3), classes=4, seed=1)
    np.testing.assert_allclose(
        fixed.predict(pixels(65), verbose=0), opened.predict(pixels(65), verbose=0), rtol=1e-4, atol=1e-5
    )


def test_two_copies_live_in_one_graph_by_their_prefixes():
    left, right = (kcnn.build("convnet", prefix=prefix, classes=2) for prefix in ("left_", "right_"))
    both = keras.Model([left.input, right.input], keras.layers.concatenate([left.output, right.output]))
    assert both.count_params() == 2 * left.count_params()
    assert {"left_conv1", "right_conv1"} <= {layer.name for layer in both.layers}


def test_changes_and_options_are_built():
    model = kcnn.build("mobilenet_v2", width=0.35, classes=2, input_shape=(64, 64, 3), overrides={"stem.kernel": 5})
    assert model.get_layer("stem").kernel_size == (5, 5)
    assert model.get_layer("stem").filters == 16


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"network": "gogglenet"}, "nearest are googlenet"),
        ({"network": "convnet", "classes": 0}, "classes must be"),
        ({"network": "convnet", "input_shape": (28, 28)}, "input_shape is"),
        ({"network": "convnet", "input_shape": (5, 5, 1)}, "smallest input that fits is 12x12"),
        ({"network": "convnet", "aux": True}, "no auxiliary"),
        ({"network": "googlenet", "aux": True, "top": False}, "auxiliary classifiers belong"),
        ({"network": "convnet", "outputs": "conv1"}, "taps is a list"),
        ({"network": "convnet", "depth": 3}, "no option 'depth'"),
    ],
)
def test_a_wrong_argument_is_a_clear_error(arguments, says):
    with pytest.raises(ValueError, match=says):
        kcnn.build(arguments.pop("network"), **arguments)


def test_a_drawing_is_built_as_it_was_drawn_and_takes_no_more_arguments():
    drawing = kcnn.trace("convnet", classes=3)
    assert kcnn.build(drawing, seed=1).output_shape == (None, 3)
    with pytest.raises(ValueError, match=r"drawn already; give classes, width to kcnn.draw"):
        kcnn.build(drawing, classes=5, width=2)


def test_weights_go_to_a_file_and_back(tmp_path):
    one = kcnn.build("lenet5.modern", seed=1)
    weights.save_weights(one, tmp_path / "w.safetensors")
    two = kcnn.build("lenet5.modern", weights=tmp_path / "w.safetensors", prefix="other_")
    assert all((a == b).all() for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    features = kcnn.build("lenet5.modern", top=False, weights=tmp_path / "w.safetensors")
    assert (features.get_layer("c1").get_weights()[0] == one.get_layer("c1").get_weights()[0]).all()


def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
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


@pytest.mark.parametrize("name", ["lenet5", "googlenet.bn", pytest.param("resnet18", marks=pytest.mark.every)])
def test_a_saved_model_predicts_the_same_in_a_new_process(name, tmp_path):
    side = max(32, kcnn.min_input_size(name))
    model = kcnn.build(name, classes=4, input_shape=(side, side, 1), seed=2)
    x = pixels(side, 1)
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "m.keras")
    code = (
        "import kcnn, numpy as np, sys; m = kcnn.load(sys.argv[1] + '/m.keras');"
        "np.save(sys.argv[1] + '/y.npy', m.predict(np.load(sys.argv[1] + '/x.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), atol=1e-5)


def test_the_card_says_what_was_built(tmp_path):
    model = kcnn.build("mobilenet_v2", width=0.35, classes=7, input_shape=(32, 32, 1), overrides={"stem.kernel": 5})
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        card = json.loads(json.loads(archive.read("config.json"))["config"]["metadata"])
    assert card == kcnn.load_model(tmp_path / "m.keras").metadata
    assert card["network"] == "mobilenet_v2"
    assert card["distribution"] == "kcnn"
    assert card["options"] == {"width": 0.35}
    assert card["overrides"] == {"stem.kernel": 5}
    assert (card["classes"], card["input_shape"]) == (7, [32, 32, 1])
    assert card["rescale"]["offset"] == -1.0


def test_a_file_that_is_no_model_of_kcnns_is_refused_clearly(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        kcnn.load_model(tmp_path / "none.keras")
    (tmp_path / "torn.keras").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match="no Keras model, or is damaged"):
        kcnn.load_model(tmp_path / "torn.keras")
    image = keras.Input((3,))
    keras.Model(image, keras.layers.Dense(2)(image)).save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match="not one of kcnn's"):
        kcnn.load_model(tmp_path / "plain.keras")


def test_a_model_of_a_plugin_that_is_gone_names_the_distribution(tmp_path):
    model = kcnn.build("convnet")
    model.update_metadata(distribution="kcnn-gone", distribution_version="2.0")
    model.save(tmp_path / "m.keras")
    with pytest.raises(ImportError, match=r"'convnet' of distribution kcnn-gone 2.0, which is not installed"):
        kcnn.load_model(tmp_path / "m.keras")


def test_a_file_may_not_name_any_module_to_import(tmp_path):
    model = kcnn.build("convnet")
    model.update_metadata(modules=["this"])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ImportError, match="needs layers of the module 'this'"):
        kcnn.load_model(tmp_path / "m.keras")
    assert "this" not in sys.modules


@pytest.mark.parametrize("name", ["convnet", "lenet5", "googlenet.bn", "mobilenet_v2"])
@pytest.mark.parametrize("policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.every), "mixed_float16"])
def test_logits_are_float32_under_mixed_precision(name, policy):
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


@pytest.mark.every
@pytest.mark.parametrize("alpha", [0.35, 0.5, 0.75, 1.3, 1.4])
def test_mobilenet_v2_counts_equal_kerass_at_every_width(alpha):
    theirs = keras.applications.MobileNetV2(alpha=alpha, weights=None, input_shape=(96, 96, 3)).count_params()
    measured = kcnn.summary(kcnn.trace("mobilenet_v2", width=alpha))
    assert measured.params + measured.non_trainable_params == theirs


@pytest.mark.every
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_mobilenet_v1_counts_equal_kerass_at_every_width(alpha):
    theirs = keras.applications.MobileNet(alpha=alpha, weights=None).count_params()
    measured = kcnn.summary(kcnn.trace("mobilenet_v1", width=alpha))
    assert measured.params + measured.non_trainable_params == theirs
