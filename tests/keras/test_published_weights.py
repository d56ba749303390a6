"""Weights by name: those that are published for a network, its variants and its options."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import kcnn
from kcnn import Architecture, WeightMapping, Weights, blocks
from kcnn.weights import find_published, published
from tests.keras.weight_files import same


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
