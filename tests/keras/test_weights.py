"""Load weights from files: strictly, adapted only on purpose, and reported by name."""

import json
from contextlib import nullcontext

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kcnn
from kcnn import Architecture, WeightMapping, Weights, blocks, weights
from kcnn.graph.ops import CENTERED, STANDARDIZED, BatchNorm, Depthwise, Rescale
from kcnn.weights import PartialWeightsWarning, TensorMatch, find_published, published


@pytest.fixture(scope="module")
def convnet():
    return kcnn.build("convnet", seed=1)


@pytest.fixture
def file(convnet, tmp_path):
    weights.save_weights(convnet, tmp_path / "convnet.safetensors")
    return tmp_path / "convnet.safetensors"


def write(model, path):
    """Write the model to a file of the format of the path's suffix."""
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
def test_load_weights_reads_every_format_of_kcnn(convnet, ending, tmp_path):
    path = write(convnet, tmp_path / f"convnet.{ending}")
    loaded = kcnn.build("convnet", seed=2, weights=path)
    assert same(loaded, convnet)
    assert kcnn.load_weights(loaded, path).mapping == "kcnn"


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


@pytest.mark.parametrize(("had", "have"), [(1, 3), (1, 7), (3, 1), (3, 2), (3, 7), (7, 3), (2, 3)])
def test_load_weights_adapts_the_first_kernel_so_that_gray_images_give_the_same_logits(had, have, tmp_path):
    model = kcnn.build("convnet", input_shape=(28, 28, had), seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    other = kcnn.build("convnet", input_shape=(28, 28, have))
    report = kcnn.load_weights(other, tmp_path / "w.safetensors")
    how = "spread over" if have > had else "summed to"
    assert report.adapted == {"conv1/kernel": f"{had} channels {how} {have}"}
    gray = np.random.default_rng(0).uniform(0, 255, (2, 28, 28, 1)).astype("float32")
    a, b = (m.predict(np.repeat(gray, n, -1), verbose=0) for m, n in ((model, had), (other, have)))
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rescale", [STANDARDIZED, CENTERED])
@pytest.mark.parametrize(("had", "have"), [(3, 1), (1, 3), (3, 2), (2, 3), (3, 4), (4, 3), (3, 7), (4, 2), (1, 2)])
def test_load_weights_keeps_the_logits_of_gray_images_where_channels_are_scaled_differently(
    rescale, had, have, tmp_path
):
    def backbone(x):
        return blocks.conv(blocks.conv(x, 8, 5, stride=2, bias=False, norm=True, name="one"), 6, 3, name="two")

    net = Architecture(backbone=backbone, reference="none", input_shape=(9, 9, 3), classes=3, rescale=rescale)
    model = kcnn.build(net, input_shape=(9, 9, had), seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    other = kcnn.build(net, input_shape=(9, 9, have), seed=2)
    report = kcnn.load_weights(other, tmp_path / "w.safetensors")
    color = {1: 3}.get(had, had), {1: 3}.get(have, have)  # a gray image is scaled as one of three equal channels
    assert ("one/kernel" in report.adapted) == (color[0] != color[1])
    assert ("by their scaling" in str(report)) == (2 in color and color[0] != color[1])
    gray = np.random.default_rng(0).uniform(0, 255, (4, 9, 9, 1)).astype("float32")
    expected, logits = (m.predict(np.repeat(gray, n, -1), verbose=0) for m, n in ((model, had), (other, have)))
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


def test_load_weights_of_a_gray_kernel_keeps_its_logits_where_channels_are_scaled_differently(tmp_path):
    def backbone(x):
        return blocks.conv(x, 8, 5, stride=2, name="one")

    fields = {"backbone": backbone, "reference": "none", "input_shape": (9, 9, 1), "classes": 3}
    mean = Rescale(float(np.mean(STANDARDIZED.scale)), float(np.mean(STANDARDIZED.offset)))
    model = kcnn.build(Architecture(**fields, rescale=mean), seed=1)
    model.save_weights(tmp_path / "w.weights.h5")
    other = kcnn.build(Architecture(**fields, rescale=STANDARDIZED), seed=2)
    report = kcnn.load_weights(other, tmp_path / "w.weights.h5")
    assert report.adapted == {"one/kernel": "1 channels spread over 3"}
    gray = np.random.default_rng(0).uniform(0, 255, (4, 9, 9, 1)).astype("float32")
    expected, logits = (m.predict(gray, verbose=0) for m in (model, other))
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


def fine_tune(base, kind):
    """Keras' own recipe of transfer learning: a base and a new head, nested or flat."""
    if kind == "sequential":
        return keras.Sequential([base, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])
    image = keras.Input((96, 96, 3)) if kind != "flat" else base.input
    x = image
    if kind == "nested":
        x = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)])(x)
        x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.GlobalAveragePooling2D()(base.output if kind == "flat" else base(x, training=False))
    x = keras.layers.Dropout(0.2)(x)
    if kind == "two layers":
        x = keras.layers.Dense(7)(x)
    return keras.Model(image, keras.layers.Dense(4)(x))


@pytest.fixture(scope="module")
def base():
    return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3), alpha=0.35)


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "h5"])
@pytest.mark.parametrize("kind", ["nested", "sequential", "flat", "two layers"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_reads_a_fine_tuned_keras_model(kind, ending, base, tmp_path):
    theirs = fine_tune(base, kind)
    path = write(theirs, tmp_path / f"tuned.{ending}")
    options = {"width": 0.35, "input_shape": (96, 96, 3), "seed": 1}
    model = kcnn.build("mobilenet_v2", classes=4, **options)
    fresh = model.get_layer("logits").kernel.numpy()
    report = kcnn.load_weights(model, path)
    stem, last = model.get_layer("stem").kernel, model.get_layer("last_bn").moving_variance
    assert (stem.numpy() == base.get_layer("Conv1").kernel.numpy()).all()
    assert (last.numpy() == base.get_layer("Conv_1_bn").moving_variance.numpy()).all()
    logits = fresh if kind == "two layers" else theirs.layers[-1].kernel.numpy()
    assert (model.get_layer("logits").kernel.numpy() == logits).all()
    assert not report.unexpected
    assert len(report.unused) == (4 if kind == "two layers" else 0)
    assert len(kcnn.load_weights(kcnn.build("mobilenet_v2", top=False, **options), path).unused) in (2, 4)
    with pytest.raises(ValueError, match="for a new head, build with") if kind == "two layers" else nullcontext():
        kcnn.build("mobilenet_v2", weights=path, **options)


def test_load_weights_of_two_nested_models_with_one_name_is_an_error(base, tmp_path):
    other = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(96, 96, 3), alpha=0.35, name="other"
    )
    image = keras.Input((96, 96, 3))
    theirs = keras.Model(image, [base(image), other(image)])
    theirs.save_weights(tmp_path / "two.weights.h5")
    with pytest.raises(ValueError, match=r"it has two layers '.*', as of two nested models"):
        kcnn.build("mobilenet_v2", width=0.35, top=False, weights=tmp_path / "two.weights.h5")


def test_load_weights_without_a_head_sets_the_backbone_of_a_network_of_other_classes(tmp_path):
    theirs = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(96, 96, 3))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    model = kcnn.build("mobilenet_v3_small", classes=5, seed=1)
    report = kcnn.load_weights(model, tmp_path / "theirs.weights.h5")
    assert report.adapted == dict.fromkeys(
        ("fc/kernel", "fc/bias", "logits/kernel", "logits/bias"), "a new head: the file has none"
    )
    with pytest.raises(ValueError, match=r"missing fc/kernel .*build with top=False or with another number"):
        kcnn.build("mobilenet_v3_small", weights=tmp_path / "theirs.weights.h5")


def test_build_takes_numbers_of_numpy():
    model = kcnn.build("resnet20", classes=np.int64(5), drop_path=np.float32(0.5), input_shape=np.array([32, 32, 3]))
    assert model.output_shape == (None, 5)
    assert model.spec.options == {"drop_path": 0.5}


def test_load_weights_without_a_top_reports_the_head_as_unused(file, convnet):
    report = kcnn.load_weights(kcnn.build("convnet", top=False), file)
    assert set(report.unused) == {"logits/kernel", "logits/bias"}
    assert not report.unexpected


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
    with pytest.warns(PartialWeightsWarning, match="unexpected conv9/kernel"):
        report = kcnn.load_weights(model, file, strict=False)
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
    with pytest.warns(PartialWeightsWarning, match=r"1 adapted, .*another function \(conv2: kernel 5, was 3"):
        model = kcnn.build("convnet", overrides={"conv2.kernel": 5}, weights=file)
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


@pytest.mark.parametrize(
    ("network", "options", "name", "message"),
    [
        (
            "resnet50",
            {},
            "coco",
            "resnet50 has no published weights of its own; resnet50.torchvision and resnet50.keras",
        ),
        ("convnet", {}, "imagenet", "convnet has no published weights of its own"),
        ("resnet18.torchvision", {}, "coco", "unknown weights 'coco'; choose from imagenet"),
        ("mobilenet_v2", {"width": 0.4}, "imagenet", "published for width=1.0; width=1.4"),
    ],
)
def test_find_published_lists_the_weights_that_exist(network, options, name, message):
    with pytest.raises(ValueError, match=message):
        kcnn.build(network, weights=name, **options)


def test_find_published_chooses_by_width_size_and_top():
    def choose(network, **options):
        return find_published(kcnn.trace(network, **options), "imagenet").url.rpartition("/")[2]

    assert choose("mobilenet_v2", width=0.35, input_shape=(96, 96, 3)).endswith("kernels_0.35_96.h5")
    assert choose("mobilenet_v2", width=0.35, top=False).endswith("kernels_0.35_224_no_top.h5")
    assert choose("mobilenet_v2", width=0.35, input_shape=(None, None, 3)).endswith("0.35_224.h5")
    assert choose("mobilenet_v3_small.minimalistic").endswith("small_minimalistic_224_1.0_float.h5")
    assert choose("resnet18.torchvision", classes=2) == "resnet18-f37072fd.pth"


def test_find_published_ignores_a_folder_of_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    with pytest.raises(ValueError, match="convnet has no published weights of its own"):
        kcnn.build("convnet", weights="imagenet")


def test_build_takes_the_variant_that_has_the_weights_and_says_so(tmp_path, monkeypatch, capsys):
    source = kcnn.build("resnet18.torchvision", seed=1)
    path = tmp_path / "torchvision" / "resnet18-f37072fd.safetensors"
    path.parent.mkdir()
    kcnn.weights.save_weights(source, path)
    monkeypatch.setattr(published, "download", lambda weights: path)
    model = kcnn.build("resnet18", weights="imagenet")
    assert model.metadata["spec"]["network"] == "resnet18.torchvision"
    assert capsys.readouterr().err == (
        "resnet18 has no 'imagenet' weights of its own; resnet18.torchvision has "
        "(torchvision, top-1 69.758% as cited) and is taken\n"
    )
    np.testing.assert_array_equal(model.get_weights()[0], source.get_weights()[0])


def test_download_published_names_a_license_that_forbids_commercial_use(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(published, "download", lambda weights: tmp_path)
    for one in kcnn.get_architecture("regnet_y_16gf").weights:
        assert published.download_published(one) == tmp_path
        assert ("which forbids commercial use" in capsys.readouterr().err) == ("SWAG" in one.license)


@pytest.mark.parametrize(
    ("network", "options", "variant"),
    [
        ("resnet50", {}, "resnet50.torchvision"),
        ("kcnn:resnet50", {}, "kcnn:resnet50.torchvision"),
        ("resnet50.keras", {}, "resnet50.keras"),
        ("mobilenet_v2", {"width": 0.4}, "mobilenet_v2"),
        ("convnet", {}, "convnet"),
    ],
)
def test_resolve_spec_takes_the_variant_of_the_highest_cited_accuracy(network, options, variant):
    spec = kcnn.ModelSpec(network=network, options=options)
    assert published.resolve_spec(spec, "imagenet").network == variant
    for other in (None, "a/file.h5", "no_such_name"):
        assert published.resolve_spec(spec, other).network == network


def test_find_published_refuses_a_number():
    with pytest.raises(TypeError, match="weights must be a name or a file, got 3"):
        kcnn.build("convnet", weights=3)


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


def test_load_weights_of_a_published_backbone_never_fill_the_head(tmp_path):
    def backbone(x):
        return blocks.conv(x, 4, 3, name="one")

    facts = {"source": "me", "checksum": None, "mapping": "x", "accuracy": None, "citation": "none", "license": "CC0"}
    path = tmp_path / "backbone.safetensors"
    published = Weights(url=path.as_uri(), top=False, **facts)
    net = Architecture(backbone=backbone, reference="none", input_shape=(9, 9, 1), classes=2, weights=(published,))
    full = kcnn.build(net, seed=1)
    for value in (np.nan, 7.0):  # as in the file of vgg16.features, or whatever it holds
        full.get_layer("logits").kernel.assign(np.full((4, 2), value))
        save_file({v.path: v.numpy() for v in full.weights}, path)
        with pytest.raises(ValueError, match=r"missing logits/kernel .*; for a new head, build with top=False or"):
            kcnn.build(net, weights=path)
        model, fresh = (kcnn.build(net, classes=3, seed=2, weights=file) for file in (path, None))
        assert (model.get_layer("logits").kernel.numpy() == fresh.get_layer("logits").kernel.numpy()).all()
        assert (model.get_layer("one").kernel.numpy() == full.get_layer("one").kernel.numpy()).all()
        assert same(kcnn.build(net, top=False, weights=path), kcnn.build(net, top=False, seed=1))
    save_file({v.path: v.numpy() for v in full.weights} | {"one/bias": np.full(4, np.nan, "float32")}, path)
    with pytest.raises(ValueError, match=r"not finite .* in one/bias;"):
        kcnn.build(net, top=False, weights=path)


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


def test_load_weights_of_a_plugin_by_name_brings_its_class_names(tmp_path, monkeypatch):
    def backbone(x, *, width: int = 4):
        return blocks.conv(x, width, 3, name="one")

    theirs = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Conv2D(4, 3, name="eins")])
    theirs.add(keras.layers.GlobalAveragePooling2D())
    theirs.add(keras.layers.Dense(2, name="zwei"))
    theirs.save_weights(tmp_path / "mine.weights.h5")
    mine = Architecture(
        backbone=backbone,
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
    from importlib.metadata import EntryPoint
    from types import SimpleNamespace

    from kcnn.architectures import registry

    point = SimpleNamespace(
        name="mine",
        value="mine:net",
        module="mine",
        pattern=EntryPoint.pattern,
        load=lambda: mine,
        dist=type("Dist", (), {"name": "my-plugin", "version": "1", "requires": None})(),
    )
    monkeypatch.setattr(registry, "discover", lambda: {"mine": {"my-plugin": point}})
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    model = kcnn.build("mine", weights="imagenet")
    assert (model.get_layer("one").kernel.numpy() == theirs.get_layer("eins").kernel.numpy()).all()
    assert model.metadata["classes"] == ["yes", "no"]
    assert model.metadata["weights"]["license"] == "CC0"
    json.dumps(model.metadata)


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
