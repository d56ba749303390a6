"""Load weights from files: strictly, adapted only on purpose, and reported by name."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kcnn
from kcnn import Architecture, WeightMapping, blocks, weights
from kcnn.graph.ops import STANDARDIZED, BatchNorm, Depthwise, Rescale
from kcnn.weights import PartialWeightsWarning, TensorMatch
from tests.keras.weight_files import same, write


@pytest.fixture
def file(convnet, tmp_path):
    weights.save_weights(convnet, tmp_path / "convnet.safetensors")
    return tmp_path / "convnet.safetensors"


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_reads_every_format_of_kcnn(convnet, ending, tmp_path):
    path = write(convnet, tmp_path / f"convnet.{ending}")
    loaded = kcnn.build("convnet", seed=2, weights=path)
    assert same(loaded, convnet)
    assert kcnn.load_weights(loaded, path).mapping == "kcnn"


def test_load_weights_reads_the_statistics_of_an_adapted_normalization(tmp_path):
    def make_model():
        return keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Normalization(name="norm")])

    theirs, ours, x = make_model(), make_model(), np.random.default_rng(0).uniform(0, 255, (9, 4, 4, 3))
    theirs.layers[0].adapt(x)
    kcnn.load_weights(ours, write(theirs, tmp_path / "theirs.safetensors"))
    np.testing.assert_array_equal(ours(x), theirs(x))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("ending", ["keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_splits_a_separable_convolution_of_keras(bias, ending, tmp_path):
    image = keras.Input((8, 8, 3))
    theirs = keras.Model(image, keras.layers.SeparableConv2D(4, 3, use_bias=bias, padding="same", name="sep")(image))
    theirs.layers[-1].set_weights([np.random.default_rng(0).normal(size=w.shape) for w in theirs.layers[-1].weights])

    def backbone(x):
        x = blocks.apply(Depthwise(3, bias=False), x, name="a")
        return blocks.conv(x, 4, 1, bias=bias, activation=None, name="b")

    names = {"a": "sep_depthwise", "b": "sep_pointwise"}
    architecture = Architecture(
        backbone=backbone,
        reference="none",
        input_shape=(8, 8, 3),
        rescale=Rescale(1.0, 0.0),
        weight_mappings={
            "keras": WeightMapping(names=lambda layers: {layer: names.get(layer, layer) for layer in layers})
        },
    )
    ours = kcnn.build(architecture, top=False, weights=write(theirs, tmp_path / f"theirs.{ending}"))
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_load_weights_reads_a_trained_model_with_its_optimizer(convnet, tmp_path):
    options = {"classes": 3, "input_shape": (16, 16, 1), "units": 1}
    model = kcnn.build("resnet20", **options)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(np.zeros((4, 16, 16, 1)), np.zeros(4), verbose=0)
    model.save(tmp_path / "trained.keras")
    assert same(kcnn.build("resnet20", weights=tmp_path / "trained.keras", **options), model)


def test_load_weights_ignores_the_prefix(file, convnet):
    assert same(kcnn.build("convnet", prefix="left_", weights=file), convnet)


def test_load_weights_keeps_the_head_of_another_number_of_classes(file, convnet):
    model = kcnn.build("convnet", classes=3, seed=2)
    before = model.get_layer("logits").get_weights()
    report = kcnn.load_weights(model, file)
    assert report.adapted == {
        "logits/kernel": "a new head: 10 classes in the file, 3 here",
        "logits/bias": "a new head: 10 classes in the file, 3 here",
    }
    assert all((a == b).all() for a, b in zip(model.get_layer("logits").get_weights(), before, strict=True))
    assert (model.get_layer("conv2").kernel.numpy() == convnet.get_layer("conv2").kernel.numpy()).all()


def test_build_takes_numbers_of_numpy():
    model = kcnn.build("resnet20", classes=np.int64(5), drop_path=np.float32(0.5), input_shape=np.array([32, 32, 3]))
    assert model.output_shape == (None, 5)
    assert model.spec.options == {"drop_path": 0.5}


def test_load_weights_without_a_top_reports_the_head_as_unused(file, convnet):
    report = kcnn.load_weights(kcnn.build("convnet", top=False), file)
    assert set(report.unused) == {"logits/kernel", "logits/bias"}
    assert not report.unexpected


@pytest.mark.parametrize("pooling", [None, "avg"])
def test_load_weights_of_a_complete_network_reads_its_backbone_with_and_without_pooling(pooling, file, convnet):
    model = kcnn.build("convnet", top=False, pooling=pooling)
    report = kcnn.load_weights(model, file)
    assert set(report.unused) == {"logits/kernel", "logits/bias"}
    assert not report.unexpected
    backbone = {weight.path: weight for weight in convnet.weights}
    assert all((weight.numpy() == backbone[weight.path].numpy()).all() for weight in model.weights)


def test_load_weights_finds_the_layers_of_a_part_of_a_numbered_network(tmp_path):
    theirs = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=4)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    complete = kcnn.build(
        "inception_v3.keras", classes=4, input_shape=(75, 75, 3), weights=tmp_path / "theirs.weights.h5"
    )
    part = kcnn.build(
        "inception_v3.keras", outputs=["mixed4_7x7_2"], input_shape=(75, 75, 3), weights=tmp_path / "theirs.weights.h5"
    )
    for layer in part.layers:
        for a, b in zip(layer.get_weights(), complete.get_layer(layer.name).get_weights(), strict=True):
            assert (a == b).all(), layer.name


def test_load_weights_refuses_missing_and_unexpected_tensors_and_sets_nothing(file, convnet):
    tensors = load_file(file)
    kernel = tensors.pop("conv2/kernel")
    save_file(tensors | {"conv9/kernel": kernel}, file)
    model = kcnn.build("convnet", seed=2)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"missing conv2/kernel \('conv2' has no kernel\); unexpected conv9"):
        kcnn.load_weights(model, file)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    with pytest.warns(PartialWeightsWarning, match="unexpected conv9/kernel") as caught:
        report = kcnn.load_weights(model, file, strict=False)
    assert [one.filename for one in caught] == [__file__]
    assert set(report.missing) == {"conv2/kernel"}
    records = {record.target: record for record in report.tensors}
    assert records["conv2/kernel"] == TensorMatch("conv2/kernel", None, "missing", "'conv2' has no kernel")
    assert records["conv1/bias"] == TensorMatch("conv1/bias", "conv1/bias", "matched")
    assert report.unexpected == ("conv9/kernel",)
    assert (model.get_layer("conv1").kernel.numpy() == convnet.get_layer("conv1").kernel.numpy()).all()


def test_load_weights_into_a_network_with_overrides_morphs_them(file, convnet):
    """A larger kernel with as much more padding computes what it did; with less, other positions, and a warning."""
    images = np.random.default_rng(0).uniform(0, 255, (2, *convnet.input_shape[1:])).astype("float32")
    model = kcnn.build("convnet", overrides={"conv2.kernel": 5, "conv2.padding": 1})
    report = kcnn.load_weights(model, file)
    assert report.morphing.preserved
    assert report.morphing.morphed == {"conv2/kernel": "(3, 3, 16, 32) in the file, (5, 5, 16, 32) here"}
    np.testing.assert_allclose(model(images), convnet(images), rtol=1e-4, atol=1e-5)
    with pytest.warns(PartialWeightsWarning, match=r"1 adapted, .*another function \(conv2: kernel 5, was 3") as caught:
        model = kcnn.build("convnet", overrides={"conv2.kernel": 5}, weights=file)
    assert [one.filename for one in caught] == [__file__]
    assert (model.get_layer("conv1").kernel.numpy() == convnet.get_layer("conv1").kernel.numpy()).all()


def test_load_weights_refuses_the_file_of_another_network(file):
    with pytest.raises(ValueError, match=r"belongs to another network: 0 tensors match; missing stem/kernel"):
        kcnn.build("resnet18", weights=file)
    save_file({"conv3/kernel": np.zeros(3, "float32")}, file)
    with pytest.raises(ValueError, match=r"another network: it has conv3, \.\.\., and no layer of this network"):
        kcnn.build("vgg11", input_shape=(32, 32, 3), weights=file)


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_refuses_a_truncated_file(convnet, ending, tmp_path):
    path = write(convnet, tmp_path / f"convnet.{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    model = kcnn.build("convnet", seed=3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"convnet\..* is damaged"):
        kcnn.load_weights(model, path)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_load_weights_refuses_files_that_hold_no_weights(convnet, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG and more")
    with pytest.raises(ValueError, match="is damaged or not a weights file"):
        kcnn.load_weights(convnet, tmp_path / "photo.png")
    with pytest.raises(FileNotFoundError, match=r"weights file not found: nowhere\.h5"):
        kcnn.load_weights(convnet, "nowhere.h5")


def test_load_weights_refuses_a_nested_model(file):
    image = keras.Input((28, 28, 1))
    nested = keras.Model(image, keras.layers.Dense(2)(kcnn.build("convnet")(image)))
    with pytest.raises(ValueError, match="not flat"):
        kcnn.load_weights(nested, file)


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5"])
def test_load_weights_reads_the_file_of_a_model_with_a_prefix(ending, tmp_path):
    model = kcnn.build("convnet", prefix="left_", seed=1)
    path = write(model, tmp_path / f"left.{ending}")
    again = kcnn.build("convnet", prefix="left_", seed=2, weights=path)
    assert same(again, model)


def test_load_weights_takes_an_input_too_small_for_auxiliary_classifiers(tmp_path):
    options = {"overrides": {"stem2.stride": 2}, "input_shape": (150, 150, 3), "classes": 3}
    model = kcnn.build("inception_v3", seed=1, **options)
    weights.save_weights(model, tmp_path / "w.safetensors")
    assert same(kcnn.build("inception_v3", weights=tmp_path / "w.safetensors", **options), model)


def test_load_weights_into_a_part_of_an_architecture_without_a_name(tmp_path):
    def backbone(x):
        return blocks.conv(x, 4, 3, name="conv2d_1")

    mine = Architecture(backbone=backbone, reference="none", input_shape=(9, 9, 1), classes=2)
    model = kcnn.build(mine, seed=1)
    model.save_weights(tmp_path / "w.weights.h5")
    part = kcnn.build(mine, top=False, weights=tmp_path / "w.weights.h5")
    assert (part.get_layer("conv2d_1").kernel.numpy() == model.get_layer("conv2d_1").kernel.numpy()).all()


def test_load_weights_finds_auxiliary_classifiers_of_the_file_at_a_size_without_room_for_them(tmp_path):
    weights.save_weights(kcnn.build("googlenet", aux=True, classes=3, seed=1), tmp_path / "w.safetensors")
    small = kcnn.build("googlenet", classes=3, input_shape=(32, 32, 3), weights=tmp_path / "w.safetensors")
    report = kcnn.load_weights(small, tmp_path / "w.safetensors")
    assert not report.unexpected
    assert all(name.startswith("aux") for name in report.unused)
    assert report.unused


def test_load_weights_reads_batch_normalization_without_an_offset(tmp_path):
    norm = BatchNorm(center=False)
    model = kcnn.build("resnet20", norm=norm, seed=1)
    model.save_weights(tmp_path / "w.weights.h5")
    assert same(kcnn.build("resnet20", norm=norm, weights=tmp_path / "w.weights.h5"), model)


def test_load_weights_refuses_another_scaling_of_pixels(tmp_path):
    weights.save_weights(
        kcnn.build("resnet18.torchvision", classes=2, input_shape=(32, 32, 3)), tmp_path / "w.safetensors"
    )
    bare = kcnn.build("resnet18", classes=2, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match=r"pixels were rescaled by .* it was written by resnet18.torchvision"):
        kcnn.load_weights(bare, tmp_path / "w.safetensors")
    with pytest.warns(PartialWeightsWarning, match="pixels were rescaled"):
        kcnn.load_weights(bare, tmp_path / "w.safetensors", strict=False)


def test_load_weights_suggests_the_variant_that_reads_a_file(tmp_path):
    theirs = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), classes=4)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    with pytest.raises(ValueError, match=r"belongs to another network.*; it may belong to mobilenet_v2"):
        kcnn.build("mobilenet_v2.torchvision", classes=4, weights=tmp_path / "theirs.weights.h5")


def test_load_weights_reads_the_file_of_options_that_change_layers(tmp_path):
    table = ((8, 3, 2, "valid", 1, False, False),) * 6
    model = kcnn.build("alexnet.torchvision", table=table, classes=2, seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    assert same(kcnn.build("alexnet.torchvision", table=table, classes=2, weights=tmp_path / "w.safetensors"), model)


def test_load_weights_records_the_source(file):
    model = kcnn.build("convnet")
    model.update_metadata(
        weights={"name": "imagenet"}, preprocessing={"resize": 256}, classes=[str(n) for n in range(10)]
    )
    kcnn.load_weights(model, file)
    assert model.metadata["weights"] == {"file": "convnet.safetensors"}
    assert model.metadata["classes"] == 10
    assert model.metadata["preprocessing"] is None


def test_load_weights_refuses_an_op_of_a_plugin_in_the_metadata(file):
    model = kcnn.build("convnet")
    spec = {**model.metadata["spec"], "options": {"activation": {"op": "Own", "slope": 1}}}
    model.update_metadata(spec=spec)
    with pytest.raises(ValueError, match=r"unknown op 'Own'.*; pass weights= to kcnn.build instead"):
        kcnn.load_weights(model, file)


def test_load_weights_refuses_a_file_of_the_old_format(file, convnet):
    save_file(load_file(file), file, {"card": json.dumps({"network": "convnet"})})
    with pytest.raises(ValueError, match=r"^\S+convnet.safetensors was written by an older version of kcnn in"):
        kcnn.load_weights(convnet, file)


@pytest.mark.parametrize("ending", ["weights.h5", "keras"])
def test_load_weights_checks_the_normalization_of_a_keras_file(ending, tmp_path):
    mapping = WeightMapping(names=lambda layers: {"one": "first", "logits": "last"}, normalization=True)
    network = Architecture(
        backbone=lambda x: blocks.conv(x, 4, name="one"),
        reference="none",
        rescale=STANDARDIZED,
        weight_mappings={"keras": mapping},
    )
    layers = keras.layers
    scaling = layers.Normalization()
    theirs = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            scaling,
            layers.Conv2D(4, 3, padding="same", activation="relu", name="first"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="last"),
        ]
    )
    with pytest.raises(ValueError, match=r"'normalization.*' has mean \[0.0, 0.0, 0.0\].*deviation \[0.229, 0.224"):
        kcnn.build(network, classes=10, input_shape=(8, 8, 3), weights=write(theirs, tmp_path / f"other.{ending}"))
    scaling.adapt_mean.assign([0.485, 0.456, 0.406])
    scaling.adapt_variance.assign(np.square([0.229, 0.224, 0.225]))
    scaling.finalize_state()
    model = kcnn.build(network, classes=10, input_shape=(8, 8, 3), weights=write(theirs, tmp_path / f"same.{ending}"))
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
    np.testing.assert_allclose(model.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    scaling.adapt_variance.assign([0.229, 0.224, 0.225])  # deviations, as the files of keras.applications have
    again = kcnn.build(network, classes=10, input_shape=(8, 8, 3), weights=write(theirs, tmp_path / f"as.{ending}"))
    assert same(again, model)
