"""Weights out of files into models: strictly, adapted only on purpose, and reported by name."""

import json
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kcnn
from kcnn import Architecture, WeightMapping, Weights, blocks, weights
from kcnn.graph.ops import BatchNorm
from kcnn.weights import PartialWeightsWarning, find_published


@pytest.fixture(scope="module")
def convnet():
    return kcnn.build("convnet", seed=1)


@pytest.fixture
def file(convnet, tmp_path):
    weights.save_weights(convnet, tmp_path / "convnet.safetensors")
    return tmp_path / "convnet.safetensors"


def written(model, path):
    """The model in a file of the kind that the path's ending says."""
    if path.suffix == ".safetensors":
        weights.save_weights(model, path)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def same(a, b):
    return all((x == y).all() for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_kcnns_own_files_of_every_format_are_read_back(convnet, ending, tmp_path):
    path = written(convnet, tmp_path / f"convnet.{ending}")
    found = kcnn.build("convnet", seed=2, weights=path)
    assert same(found, convnet)
    assert kcnn.load_weights(found, path).layout == "kcnn"


def test_a_trained_model_with_its_optimizer_is_read_too(convnet, tmp_path):
    asked = {"classes": 3, "input_shape": (16, 16, 1), "units": 1}
    model = kcnn.build("resnet20", **asked)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(np.zeros((4, 16, 16, 1)), np.zeros(4), verbose=0)
    model.save(tmp_path / "trained.keras")
    assert same(kcnn.build("resnet20", weights=tmp_path / "trained.keras", **asked), model)


def test_a_prefix_is_no_part_of_a_name(file, convnet):
    assert same(kcnn.build("convnet", prefix="left_", weights=file), convnet)


def test_another_number_of_classes_keeps_the_new_head(file, convnet):
    model = kcnn.build("convnet", classes=3, seed=2)
    before = model.get_layer("logits").get_weights()
    report = kcnn.load_weights(model, file)
    assert report.adapted == {
        "logits/kernel": "a new head: 10 classes in the file, 3 here",
        "logits/bias": "a new head: 10 classes in the file, 3 here",
    }
    assert all((a == b).all() for a, b in zip(model.get_layer("logits").get_weights(), before, strict=True))
    assert (model.get_layer("conv2").kernel.numpy() == convnet.get_layer("conv2").kernel.numpy()).all()


@pytest.mark.parametrize(("had", "have"), [(1, 3), (1, 7), (3, 1), (3, 2), (3, 7), (7, 3), (2, 3)])
def test_a_grey_picture_gives_the_same_logits_through_any_number_of_channels(had, have, tmp_path):
    model = kcnn.build("convnet", input_shape=(28, 28, had), seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    other = kcnn.build("convnet", input_shape=(28, 28, have))
    report = kcnn.load_weights(other, tmp_path / "w.safetensors")
    word = "spread over" if have > had else "summed to"
    assert report.adapted == {"conv1/kernel": f"{had} channels {word} {have}"}
    grey = np.random.default_rng(0).uniform(0, 255, (2, 28, 28, 1)).astype("float32")
    a, b = (m.predict(np.repeat(grey, n, -1), verbose=0) for m, n in ((model, had), (other, have)))
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


def test_a_file_without_a_head_gives_a_network_of_other_classes_its_body(tmp_path):
    theirs = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(96, 96, 3))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    model = kcnn.build("mobilenet_v3_small", classes=5, seed=1)
    report = kcnn.load_weights(model, tmp_path / "theirs.weights.h5")
    assert report.adapted == dict.fromkeys(
        ("fc/kernel", "fc/bias", "logits/kernel", "logits/bias"), "a new head: the file has none"
    )
    with pytest.raises(ValueError, match=r"missing are fc/kernel .*build with top=False, or with another number"):
        kcnn.build("mobilenet_v3_small", weights=tmp_path / "theirs.weights.h5")


def test_numbers_may_be_numpys():
    model = kcnn.build("resnet20", classes=np.int64(5), drop_path=np.float32(0.5), input_shape=np.array([32, 32, 3]))
    assert model.output_shape == (None, 5)
    assert model.metadata["options"] == {"drop_path": 0.5}


def test_without_a_top_the_files_own_is_unused(file, convnet):
    report = kcnn.load_weights(kcnn.build("convnet", top=False), file)
    assert set(report.unused) == {"logits/kernel", "logits/bias"}
    assert not report.unexpected


def test_a_tap_inside_a_numbered_network_still_finds_its_layers(tmp_path):
    theirs = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=4)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    whole = kcnn.build("inception_v3.keras", classes=4, input_shape=(75, 75, 3), weights=tmp_path / "theirs.weights.h5")
    part = kcnn.build(
        "inception_v3.keras", outputs=["mixed4_7x7_2"], input_shape=(75, 75, 3), weights=tmp_path / "theirs.weights.h5"
    )
    for layer in part.layers:
        for a, b in zip(layer.get_weights(), whole.get_layer(layer.name).get_weights(), strict=True):
            assert (a == b).all(), layer.name


def test_what_is_missing_or_unexpected_is_an_error_that_names_it_and_sets_nothing(file, convnet):
    tensors = load_file(file)
    kernel = tensors.pop("conv2/kernel")
    save_file(tensors | {"conv9/kernel": kernel}, file)
    model = kcnn.build("convnet", seed=2)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"missing are conv2/kernel \('conv2' has no kernel\); unexpected are conv9"):
        kcnn.load_weights(model, file)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    with pytest.warns(PartialWeightsWarning, match="unexpected are conv9/kernel"):
        report = kcnn.load_weights(model, file, strict=False)
    assert set(report.missing) == {"conv2/kernel"}
    assert report.unexpected == ("conv9/kernel",)
    assert (model.get_layer("conv1").kernel.numpy() == convnet.get_layer("conv1").kernel.numpy()).all()


def test_a_patched_network_keeps_what_fits_and_says_what_does_not(file, convnet):
    with pytest.warns(
        PartialWeightsWarning, match=r"missing are conv2/kernel \(\(3, 3, 16, 32\) in the file, \(5, 5, 16, 32\)"
    ):
        model = kcnn.build("convnet", overrides={"conv2.kernel": 5, "conv2.padding": 1}, weights=file)
    assert (model.get_layer("conv1").kernel.numpy() == convnet.get_layer("conv1").kernel.numpy()).all()


def test_another_networks_file_is_refused_with_what_it_holds(file):
    with pytest.raises(ValueError, match=r"of another network: 0 tensors fit; missing are stem/kernel"):
        kcnn.build("resnet18", weights=file)
    save_file({"conv3/kernel": np.zeros(3, "float32")}, file)
    with pytest.raises(ValueError, match=r"of another network: it holds conv3 \.\.\.: no layer of this network"):
        kcnn.build("vgg11", input_shape=(32, 32, 3), weights=file)


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_a_file_cut_short_is_said_to_be_damaged(convnet, ending, tmp_path):
    path = written(convnet, tmp_path / f"convnet.{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    model = kcnn.build("convnet", seed=3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"convnet\..* is damaged"):
        kcnn.load_weights(model, path)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_what_is_no_file_of_weights_is_said_to_be_none(convnet, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG and more")
    with pytest.raises(ValueError, match="no file of weights"):
        kcnn.load_weights(convnet, tmp_path / "photo.png")
    with pytest.raises(FileNotFoundError, match=r"there is no weights file .*nowhere\.h5"):
        kcnn.load_weights(convnet, "nowhere.h5")


def test_a_model_inside_a_model_is_refused(file):
    image = keras.Input((28, 28, 1))
    nested = keras.Model(image, keras.layers.Dense(2)(kcnn.build("convnet")(image)))
    with pytest.raises(ValueError, match="not flat"):
        kcnn.load_weights(nested, file)


@pytest.mark.parametrize(
    ("network", "options", "name", "says"),
    [
        (
            "resnet50",
            {},
            "imagenet",
            "resnet50 has no published weights of its own; resnet50.torchvision and resnet50.keras",
        ),
        ("convnet", {}, "imagenet", "convnet has no published weights of its own"),
        ("resnet18.torchvision", {}, "coco", "there are imagenet"),
        ("mobilenet_v2", {"width": 0.4}, "imagenet", "published for width=1.0; width=1.4"),
    ],
)
def test_weights_that_are_not_published_are_answered_with_those_that_are(network, options, name, says):
    with pytest.raises(ValueError, match=says):
        kcnn.build(network, weights=name, **options)


def test_the_weights_of_the_right_width_size_and_top_are_picked(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: True)  # as if torch were there

    def picked(network, **asked):
        return find_published(kcnn.trace(network, **asked), "imagenet").url.rpartition("/")[2]

    assert picked("mobilenet_v2", width=0.35, input_shape=(96, 96, 3)).endswith("kernels_0.35_96.h5")
    assert picked("mobilenet_v2", width=0.35, top=False).endswith("kernels_0.35_224_no_top.h5")
    assert picked("mobilenet_v2", width=0.35, input_shape=(None, None, 3)).endswith("0.35_224.h5")
    assert picked("mobilenet_v3_small.minimalistic").endswith("small_minimalistic_224_1.0_float.h5")
    assert picked("resnet18.torchvision", classes=2) == "resnet18-f37072fd.pth"


@pytest.mark.skipif(bool(find_spec("torch")), reason="torch is installed")
def test_weights_that_take_torch_say_so_before_anything_is_fetched():
    with pytest.raises(ImportError, match=r'resnet18-f37072fd.pth .* pip install "kcnn\[torch\]"'):
        kcnn.build("resnet18.torchvision", weights="imagenet")


def test_a_folder_named_like_the_weights_is_no_file_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    with pytest.raises(ValueError, match="resnet50 has no published weights of its own"):
        kcnn.build("resnet50", weights="imagenet")


def test_what_is_neither_name_nor_file_is_refused():
    with pytest.raises(TypeError, match="weights are a file or published ones by name, not 3"):
        kcnn.build("convnet", weights=3)


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5"])
def test_a_model_with_a_prefix_reads_its_own_file(ending, tmp_path):
    model = kcnn.build("convnet", prefix="left_", seed=1)
    path = written(model, tmp_path / f"left.{ending}")
    again = kcnn.build("convnet", prefix="left_", seed=2, weights=path)
    assert same(again, model)


def test_a_change_that_leaves_no_room_for_auxiliary_classifiers_is_no_hindrance(tmp_path):
    asked = {"overrides": {"stem2.stride": 2}, "input_shape": (150, 150, 3), "classes": 3}
    model = kcnn.build("inception_v3", seed=1, **asked)
    weights.save_weights(model, tmp_path / "w.safetensors")
    assert same(kcnn.build("inception_v3", weights=tmp_path / "w.safetensors", **asked), model)


def test_an_architecture_without_a_name_loads_its_own_weights_into_a_part(tmp_path):
    def body(x):
        return blocks.conv(x, 4, 3, name="conv2d_1")

    mine = Architecture(backbone=body, reference="none", input_shape=(9, 9, 1), classes=2)
    model = kcnn.build(mine, seed=1)
    model.save_weights(tmp_path / "w.weights.h5")
    part = kcnn.build(mine, top=False, weights=tmp_path / "w.weights.h5")
    assert (part.get_layer("conv2d_1").kernel.numpy() == model.get_layer("conv2d_1").kernel.numpy()).all()


def test_batch_normalisation_without_an_offset_is_read_as_such(tmp_path):
    norm = BatchNorm(center=False)
    model = kcnn.build("resnet20", norm=norm, seed=1)
    model.save_weights(tmp_path / "w.weights.h5")
    assert same(kcnn.build("resnet20", norm=norm, weights=tmp_path / "w.weights.h5"), model)


def test_weights_of_another_scaling_of_pixels_are_refused(tmp_path):
    weights.save_weights(
        kcnn.build("resnet18.torchvision", classes=2, input_shape=(32, 32, 3)), tmp_path / "w.safetensors"
    )
    bare = kcnn.build("resnet18", classes=2, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match=r"pixels were rescaled by .* it was written by resnet18.torchvision"):
        kcnn.load_weights(bare, tmp_path / "w.safetensors")
    with pytest.warns(PartialWeightsWarning, match="pixels were rescaled"):
        kcnn.load_weights(bare, tmp_path / "w.safetensors", strict=False)


def test_a_file_of_another_variant_is_refused_with_the_variant_that_reads_it(tmp_path):
    theirs = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), classes=4)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    with pytest.raises(ValueError, match=r"of another network.*; it may be one for mobilenet_v2"):
        kcnn.build("mobilenet_v2.torchvision", classes=4, weights=tmp_path / "theirs.weights.h5")


def test_options_that_change_the_networks_layers_still_read_its_own_files(tmp_path):
    table = ((8, 3, 2, "valid", 1, False, False),) * 6
    model = kcnn.build("alexnet.torchvision", table=table, classes=2, seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    assert same(kcnn.build("alexnet.torchvision", table=table, classes=2, weights=tmp_path / "w.safetensors"), model)


def test_the_card_says_where_the_weights_are_from_now(file):
    model = kcnn.build("convnet")
    model.update_metadata(
        weights={"name": "imagenet"}, preprocessing={"resize": 256}, classes=[str(n) for n in range(10)]
    )
    kcnn.load_weights(model, file)
    assert model.metadata["weights"] == {"file": "convnet.safetensors"}
    assert model.metadata["classes"] == 10
    assert model.metadata["preprocessing"] is None


def test_a_plugins_own_weights_load_by_name_with_the_names_of_its_classes(tmp_path, monkeypatch):
    def body(x, *, width: int = 4):
        return blocks.conv(x, width, 3, name="one")

    theirs = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Conv2D(4, 3, name="eins")])
    theirs.add(keras.layers.GlobalAveragePooling2D())
    theirs.add(keras.layers.Dense(2, name="zwei"))
    theirs.save_weights(tmp_path / "mine.weights.h5")
    mine = Architecture(
        backbone=body,
        reference="none",
        input_shape=(9, 9, 1),
        classes=2,
        weight_mappings={"german": WeightMapping(names=lambda layers: {"one": "eins", "logits": "zwei"})},
        weights=(
            Weights(
                url=(tmp_path / "mine.weights.h5").as_uri(),
                checksum=None,
                source="me",
                mapping="german",
                options={"width": 4},
                classes=("yes", "no"),
                accuracy=None,
                citation="none",
                license="CC0",
            ),
        ),
    )
    from types import SimpleNamespace

    from kcnn.architectures import registry

    point = SimpleNamespace(
        name="mine",
        value="mine:net",
        module="mine",
        load=lambda: mine,
        dist=type("Dist", (), {"name": "my-plugin", "version": "1", "requires": None})(),
    )
    monkeypatch.setattr(registry, "published", lambda: {"mine": {"my-plugin": point}})
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    model = kcnn.build("mine", weights="imagenet")
    assert (model.get_layer("one").kernel.numpy() == theirs.get_layer("eins").kernel.numpy()).all()
    assert model.metadata["classes"] == ["yes", "no"]
    assert model.metadata["weights"]["license"] == "CC0"
    json.dumps(model.metadata)


def test_an_op_of_a_plugins_own_on_the_card_is_one_clear_error(file):
    model = kcnn.build("convnet")
    model.update_metadata(options={"act": {"op": "Own", "slope": 1}})
    with pytest.raises(ValueError, match=r"an op of a plugin's own, Own; load with kcnn.build\(..., weights=...\)"):
        kcnn.load_weights(model, file)
