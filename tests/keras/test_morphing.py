"""Morphed weights: where the report says that a network computes what it did, its outputs are what they were."""

import random
import warnings

import keras
import numpy as np
import pytest

import kcnn
from kcnn.graph.ops import Conv, Depthwise
from kcnn.graph.windows import to_pair
from kcnn.search.space import default_space
from kcnn.weights import PartialWeightsWarning, morph_weights, save_weights
from kcnn.weights.morphing import morph_tensors
from kcnn.weights.weight_files import collect_tensors
from tests.catalogue import OF_ITS_OWN, ONE_PER_FAMILY
from tests.parity.seeded import seeded_variables

CLOSE = 1e-4  # of the largest value of a layer
SIDE = 32
FEW = ["convnet", "resnet20", "squeezenet1_1", "mobilenet_v1"]  # cheap ones
LARGEST, LARGEST_OF_FAMILY = 20_000_000, 40_000_000  # parameters of a network that is built
REPRESENTATIVES = (*ONE_PER_FAMILY, *OF_ITS_OWN)
REST = [
    pytest.param(name, marks=pytest.mark.every)
    for name in kcnn.list_models()
    if kcnn.get_architecture(name).params <= (LARGEST_OF_FAMILY if name in REPRESENTATIVES else LARGEST)
    and name not in FEW
]
FAMILIES = [one for one in REST if one.values[0] in REPRESENTATIVES]


def build(graph):
    """A model with random weights and statistics of normalization."""
    model = kcnn.build(graph, seed=1)
    for layer in model.layers:
        if layer.weights:
            gain = 0.1 if "squeeze" in layer.name else 1.0  # a wide gate would amplify the rounding of its input
            layer.set_weights(seeded_variables(layer.name, [tuple(w.shape) for w in layer.weights], gain))
    return model


def images(graph):
    return (np.random.RandomState(0).random_sample((2, *graph.input.shape)) * 255).astype("float32")


def compute(model, names, pixels):
    outputs = keras.Model(model.inputs, [model.get_layer(name).output for name in names])(pixels)
    return [np.asarray(y) for y in keras.tree.flatten(outputs)]


def distance(values, expected):
    return np.abs(values - expected).max() / max(np.abs(expected).max(), 1e-9)


def morph(old_spec, new_spec):
    """The report of a morph, after every layer of which it claims something was compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kcnn.NoEffectWarning)
        old, new = old_spec.trace(), new_spec.trace()
    source, target = build(old), kcnn.build(new, seed=2)
    result = morph_tensors(old, new, collect_tensors(source), collect_tensors(target))
    for layer in target.layers:
        if layer.weights:
            layer.set_weights([result.tensors[f"{layer.name}/{w.name}"] for w in layer.weights])
    names = [
        name
        for name, one in result.carried.items()
        if one.holds and one.tensor is not None and one.tensor.op is not None and not one.edits
    ]
    pixels = images(old)
    values = compute(target, names, pixels)
    for name, new_map, old_map in zip(
        names, values, compute(source, [result.carried[n].tensor.name for n in names], pixels), strict=True
    ):
        one = result.carried[name]
        if new_map.ndim == 4:
            rows, columns = one.axes
            new_map = new_map[:, rows.offset :: rows.step, columns.offset :: columns.step]
            new_map = new_map[:, : old_map.shape[1], : old_map.shape[2]]
        known = one.channels >= 0
        assert distance(new_map[..., known], old_map[..., one.channels[known]]) < CLOSE, name
    if result.report.preserved:
        before, after = np.asarray(source(pixels)), np.asarray(target(pixels))
        assert distance(after, before) < CLOSE
        assert not (before[0] == before[1]).all()  # the logits depend on the image
    return result.report


def spec(name, **keywords):
    return kcnn.ModelSpec(network=name, classes=10, **{"input_shape": (SIDE, SIDE, 3), **keywords})


def small_spec(name):
    """A network on the smallest image of at least 32 pixels that it takes."""
    side = max(SIDE, kcnn.min_input_size(name))
    return spec(name, input_shape=(side, side, kcnn.get_architecture(name).input_shape[2]))


def grow_kernels(base, source):
    """Overrides of the kernels of some layers whose padding grows with them."""
    layers = {
        row.name: row.op
        for row in kcnn.summary(base)
        if isinstance(row.op, Conv | Depthwise)
        and row.op.padding in ("same", "half")
        and all(size % 2 for size in to_pair(row.op.kernel))
    }
    chosen = [name for name in layers if source.random() < 0.3]
    return {f"{name}.kernel": tuple(size + 2 for size in to_pair(layers[name].kernel)) for name in chosen}


def check_grown_kernels(name):
    base, source = small_spec(name), random.Random(name)
    assert morph(base, base.with_overrides(grow_kernels(base, source))).differences.keys() <= standardized(base)


def check_random_version(name):
    base = small_spec(name)
    if kcnn.get_architecture(name).backbone is not None:
        graph = default_space(base).sample(seed=name).graph
        morph(base, graph.spec)


def standardized(base):
    return {row.name for row in kcnn.summary(base) if getattr(row.op, "standardized", False)}


@pytest.mark.parametrize("name", FEW + FAMILIES)
def test_morphed_weights_of_grown_kernels_agree(name):
    check_grown_kernels(name)
    keras.backend.clear_session()


@pytest.mark.parametrize("name", FEW + REST)
def test_morphed_weights_of_a_random_version_agree_where_the_report_says_so(name):
    check_random_version(name)
    keras.backend.clear_session()


def test_morph_tensors_splits_the_channels_of_a_wider_network():
    report = morph(spec("mobilenet_v1", options={"width": 0.25}), spec("mobilenet_v1", options={"width": 0.35}))
    assert report.preserved
    assert not report.new
    assert not report.adapted


def test_morph_tensors_starts_new_residual_units_as_identities():
    report = morph(spec("resnet20", options={"units": 1}), spec("resnet20", options={"units": 2}))
    assert report.preserved
    assert {name.rpartition("/")[0] for name in report.morphed} == {f"stage{n}_unit2_b_bn" for n in (1, 2, 3)}


def test_morph_tensors_starts_new_plain_layers_as_identities():
    report = morph(
        spec("vgg11_bn", options={"units": 32, "widths": (8, 8, 8, 8, 8)}),
        spec("vgg11_bn", options={"units": 48, "widths": (8, 12, 8, 8, 16), "repeats": (2, 1, 2, 3, 2)}),
    )
    assert report.preserved
    assert not report.new


def test_morph_tensors_gives_new_branches_of_a_concatenation_no_weight():
    small = {"growth": 8, "norm": True}
    report = morph(
        spec("densenet121", options={**small, "repeats": (1, 2, 1, 1)}),
        spec("densenet121", options={**small, "repeats": (1, 3, 2, 1)}),
    )
    assert report.preserved
    assert report.new


def test_morph_tensors_trades_stride_for_dilation():
    """The features have the old ones in every second row and column; their mean has not."""
    overrides = {"stage3_unit1_a.stride": 1, "stage3_unit1_b.dilation": 2, "stage3_unit{2,3}_{a,b}.dilation": 2}
    report = morph(spec("resnet20"), spec("resnet20", overrides=overrides))
    assert report.differences == {"pool": "a map of another size"}
    assert not report.preserved
    assert not report.new


@pytest.mark.parametrize(
    "overrides",
    [{"conv2.kernel": 1}, {"conv2.padding": "same"}, {"conv2.filters": 8}, {"pool1.stride": 1}, {"conv2.stride": 2}],
)
def test_morph_tensors_claims_nothing_after_another_function(overrides):
    report = morph(spec("convnet"), spec("convnet", overrides=overrides))
    assert not report.preserved
    assert report.differences
    assert "another function" in report.line


def test_morph_weights_reads_the_file_of_another_version(tmp_path):
    """The file says which version it is of, so that a wider network takes it, and another network does not."""
    source = build(spec("convnet", input_shape=(16, 16, 3), overrides={"conv1.kernel": 5}).trace())
    save_weights(source, tmp_path / "w.safetensors")
    model = kcnn.build(
        spec("convnet", input_shape=(16, 16, 3), overrides={"conv1.kernel": 7, "conv1.padding": 1, "conv2.filters": 40})
    )
    report = morph_weights(model, tmp_path / "w.safetensors")
    assert report.preserved
    assert report.line.startswith("tensors: 2 kept, 4 morphed, 0 new; the network computes what it did")
    pixels = (np.random.RandomState(1).random_sample((2, 16, 16, 3)) * 255).astype("float32")
    assert distance(np.asarray(model(pixels)), np.asarray(source(pixels))) < CLOSE
    with pytest.raises(ValueError, match="written by convnet, not resnet20"):
        morph_weights(kcnn.build("resnet20"), tmp_path / "w.safetensors")


def test_morph_weights_keeps_gray_images_and_makes_a_new_head(tmp_path):
    source = build(spec("convnet", input_shape=(16, 16, 3)).trace())
    save_weights(source, tmp_path / "w.safetensors")
    gray = (np.random.RandomState(1).random_sample((2, 16, 16, 1)) * 255).astype("float32")
    model = kcnn.build(spec("convnet", input_shape=(16, 16, 1), overrides={"conv2.kernel": 5, "conv2.padding": 1}))
    assert morph_weights(model, tmp_path / "w.safetensors").preserved
    assert distance(np.asarray(model(gray)), np.asarray(source(np.repeat(gray, 3, axis=-1)))) < CLOSE
    model = kcnn.build("convnet", classes=3, input_shape=(16, 16, 3), overrides={"conv2.filters": 8})
    with pytest.warns(PartialWeightsWarning, match="conv2: filters 8"):
        report = kcnn.load_weights(model, tmp_path / "w.safetensors")
    assert set(report.morphing.new) == {"logits/kernel", "logits/bias"}
