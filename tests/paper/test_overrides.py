"""Changing a network by address draws it again."""

import random

import pytest

import kcnn
from kcnn import Architecture, blocks
from kcnn.graph import ops
from kcnn.graph.windows import InputTooSmallError, output_size


def test_override_with_a_glob_changes_matching_layers_only():
    before = kcnn.summary("googlenet")
    after = kcnn.summary(kcnn.trace("googlenet", overrides={"inception_*_5x5.kernel": 3}))
    changed = {a.name for a, b in zip(before, after, strict=True) if a.op != b.op}
    assert changed == {f"inception_{block}_5x5" for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")}
    assert before.params - after.params == sum(16 * row.params // 25 for row in before if row.name in changed) - sum(
        16 * row.op.filters // 25 for row in before if row.name in changed
    )


def test_with_overrides_makes_the_torchvision_variant():
    changes = {
        "inception_*_5x5.kernel": 3,
        "stem.padding": "half",
        "pool{1,2,3,4}.padding": "ceil",
        "pool4.kernel": 2,
        "dropout": 0.2,
    }
    assert not kcnn.diff(kcnn.trace("googlenet.bn").with_overrides(changes), "googlenet.torchvision")


def test_with_overrides_keeps_earlier_overrides():
    drawing = kcnn.trace("vgg11").with_overrides({"conv1_1.kernel": 5}).with_overrides({"conv2_1.kernel": 7})
    rows = kcnn.summary(drawing)
    assert (rows["conv1_1"].op.kernel, rows["conv2_1"].op.kernel) == (5, 7)


def test_with_overrides_takes_options_too():
    drawing = kcnn.trace("mobilenet_v2").with_overrides({"width": 0.5, "dropout": 0.4, "stem.kernel": 5})
    rows = kcnn.summary(drawing)
    assert rows["stem"].shape[2] == 16
    assert rows["stem"].op.kernel == 5
    assert rows["dropout"].op.rate == 0.4
    assert not kcnn.diff(drawing, kcnn.trace("mobilenet_v2", width=0.5, dropout=0.4, overrides={"stem.kernel": 5}))


def test_override_of_a_stride_adds_a_projection():
    rows = kcnn.summary(kcnn.trace("resnet18", overrides={"stage1_unit1_a.stride": 2}))
    assert rows["stage1_unit1_skip"].op.stride == 2
    assert rows["stage1_unit1_skip"].shape == (28, 28, 64)
    rows = kcnn.summary(kcnn.trace("resnet18", overrides={"stage3_unit1_{a,skip}.stride": 1}))
    assert rows["stage3_unit1"].shape == (28, 28, 256)


def test_override_of_a_stride_removes_a_shortcut():
    names = {
        row.name for row in kcnn.summary(kcnn.trace("mobilenet_v2", overrides={"stage2_unit2_depthwise.stride": 2}))
    }
    assert "stage2_unit2_add" not in names


@pytest.mark.filterwarnings("ignore:.*has no effect")  # a random choice may be what is there already
def test_override_works_wherever_geometry_allows():
    draw = random.Random(0)
    worked = refused = 0
    for _ in range(300):
        changes = {"stem.kernel": draw.choice([3, 5, 7, (3, 7), 9]), "stem.stride": draw.choice([1, 2, 3])}
        changes["stem.padding"] = draw.choice(["same", "half", "valid", 2])
        changes["stem_pool.padding"] = draw.choice(["same", "half", "valid", "ceil"])
        for stage in (1, 2, 3, 4):
            changes[f"stage{stage}_unit1_a.stride"] = draw.choice([1, 2, 3])
            changes[f"stage{stage}_unit*_a.kernel"] = draw.choice([1, 3, 5, (3, 5)])
            changes[f"stage{stage}_unit*_b.kernel"] = draw.choice([1, 2, 3, 5])
            changes[f"stage{stage}_unit*_b.padding"] = draw.choice(["same", "half", "valid"])
        if _allowed(changes):
            kcnn.summary(kcnn.trace("resnet18", overrides=changes))
            worked += 1
        else:
            with pytest.raises(ValueError, match=r"layer '(stage|stem)|too small"):
                kcnn.trace("resnet18", overrides=changes)
            refused += 1
    assert worked >= 20
    assert refused >= 20


def _allowed(changes):
    """Whether every unit's two ways can meet: worked out on sizes alone, apart from kcnn's drawing."""
    try:
        size = [224, 224]
        for axis in (0, 1):
            size[axis] = output_size(
                size[axis], _axis(changes["stem.kernel"], axis), changes["stem.stride"], changes["stem.padding"]
            )
            size[axis] = output_size(size[axis], 3, 2, changes["stem_pool.padding"])
        channels = 64
        for stage in (1, 2, 3, 4):
            filters = 32 << stage
            for unit in (1, 2):
                steps, out = [], []
                for axis in (0, 1):
                    stride = changes[f"stage{stage}_unit1_a.stride"] if unit == 1 else 1
                    kernel = _axis(changes[f"stage{stage}_unit*_a.kernel"], axis)
                    after = output_size(size[axis], kernel, stride, "half")
                    second = changes[f"stage{stage}_unit*_b.kernel"], 1, changes[f"stage{stage}_unit*_b.padding"]
                    out.append(output_size(after, *second))
                    steps.append([s for s in range(1, size[axis] + 1) if (size[axis] - 1) // s + 1 == out[axis]])
                if not all(steps) and not (out == size and channels == filters):
                    return False
                size, channels = out, filters
    except InputTooSmallError:
        return False
    return True


def _axis(kernel, axis):
    return kernel[axis] if isinstance(kernel, tuple) else kernel


def test_trace_refuses_branches_of_different_shapes():
    with pytest.raises(ValueError, match=r"layer 'stage1_unit1_add': cannot add \(56, 56, 64\) and \(55, 55, 64\)"):
        kcnn.trace("resnet18", overrides={"stage1_unit1_b.kernel": 2, "stage1_unit1_b.padding": "valid"})


def test_override_of_an_unknown_layer_or_attribute_suggests_names():
    with pytest.raises(ValueError, match=r"no layer matches 'inception_3a_5x6'. Did you mean 'inception_3a_5x5'"):
        kcnn.trace("googlenet", overrides={"inception_3a_5x6.kernel": 3})
    with pytest.raises(ValueError, match=r"layer 'stem' \(Conv\) has no attribute 'kernl'. Did you mean 'kernel'\?"):
        kcnn.trace("googlenet", overrides={"stem.kernl": 3})


def test_trace_with_an_unknown_option_suggests_names():
    with pytest.raises(ValueError, match=r"unknown option 'widht'. Did you mean 'width'"):
        kcnn.trace("mobilenet_v2", widht=0.5)
    with pytest.raises(ValueError, match=r"unknown option 'top_k'"):
        kcnn.trace("mobilenet_v2").with_overrides({"top_k": 3})


def test_override_without_effect_warns():
    with pytest.warns(
        UserWarning, match=r"override has no effect: the layers already have these values \(stem.kernel\)"
    ):
        drawing = kcnn.trace("googlenet", overrides={"stem.kernel": 7, "conv2.kernel": 5})
    assert drawing.unused_overrides == ("stem.kernel",)


def test_override_with_an_invalid_value_names_the_layer():
    with pytest.raises(ValueError, match=r"layer 'stem': kernel must be a positive integer"):
        kcnn.trace("googlenet", overrides={"stem.kernel": "large"})


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "a*", 5, None, "tab\t", "\ud800", "image"])
def test_trace_refuses_a_layer_name_that_keras_cannot_have(name):
    architecture = Architecture(backbone=lambda x: blocks.apply(kcnn.ops.Conv(4, 3), x, name=name), reference="none")
    with pytest.raises(ValueError, match=r"a layer name must be of letters, digits|'image' is used twice"):
        kcnn.trace(architecture)


def test_trace_refuses_a_layer_name_used_twice():
    def body(x):
        return blocks.conv(blocks.conv(x, 4, name="one"), 4, name="one")

    with pytest.raises(ValueError, match=r"'one' is used twice"):
        kcnn.trace(Architecture(backbone=body, reference="none"))


def test_trace_takes_an_unpublished_architecture():
    def body(x, *, filters=4):
        return blocks.conv(x, filters, 3, stride=2, name="one")

    drawing = kcnn.trace(Architecture(backbone=body, reference="none", input_shape=(9, 9, 1), classes=2))
    patched = drawing.with_overrides({"one.kernel": 5, "filters": 6})
    assert kcnn.summary(patched)["one"].params == (25 + 1) * 6


def test_override_reaches_custom_ops():
    rows = kcnn.summary(kcnn.trace("lenet5").with_overrides({"c3.kernel": 3, "c5.kernel": 6}))
    assert rows["c3"].op.kernel == 3
    assert rows["c3"].params == 9 * 60 + 16
    assert rows["c3"].receptive_field == (5 + 1 + 2 * 2, 5 + 1 + 2 * 2)


def test_architecture_refuses_kwargs():
    with pytest.raises(TypeError, match=r"\*\*kwargs"):
        Architecture(backbone=lambda x, **kwargs: x, reference="none")


def test_blocks_work_on_a_symbolic_tensor():
    from kcnn.graph.tracing import SymbolicTensor

    x = blocks.inception(SymbolicTensor((28, 28, 192), "image"), 64, 96, 128, 16, 32, 32, name="3a")
    assert x.shape == (28, 28, 256)
    assert kcnn.summary(x).params == 163_696


def test_ops_are_values():
    assert ops.Conv(3, 5) == ops.Conv(3, 5)
    assert hash(ops.Pool()) == hash(ops.Pool())


def test_graph_and_symbolic_tensor_repr_are_short():
    drawing = kcnn.trace("inception_v4")
    assert len(repr(drawing.outputs["logits"])) < 100
    assert len(repr(drawing)) < 100


@pytest.mark.parametrize(
    ("network", "options", "says"),
    [
        ("mobilenet_v2", {"width": "wide"}, r"mobilenet_v2: option width must be a number \(default 1.0\), got 'wide'"),
        ("mobilenet_v2", {"width": -1}, "width must be a number"),
        ("mobilenet_v3_small", {"width": 0}, "filters must be positive, got 0"),
        ("resnet20", {"units": -3}, r"units must be a number \(default 3\), got -3"),
        ("resnet50", {"repeats": 3}, r"repeats must be a list \(default \[3, 4, 6, 3\]\), got 3"),
        ("resnet50", {"norm": "batch"}, "resnet50 cannot be built with {'norm': 'batch'}"),
        ("resnet50", {"drop_path": 1.5}, r"drop_path must be in \[0, 1\), got 1.5"),
        ("plain20", {"drop_path": 0.5}, "a plain network has none"),
    ],
)
def test_trace_with_an_invalid_option_names_it(network, options, says):
    with pytest.raises(ValueError, match=says):
        kcnn.trace(network, **options)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"input_shape": 32}, r"input_shape must be \(rows, columns, channels\)"),
        ({"outputs": [1, 2]}, "outputs must be names of layers or stages, got 1"),
        ({"top": "no"}, "top must be True or False, got 'no'"),
    ],
)
def test_trace_refuses_arguments_of_the_wrong_type(asked, says):
    with pytest.raises(ValueError, match=says):
        kcnn.trace("resnet20", **asked)


def test_check_raises_the_errors_of_trace_and_never_warns():
    kcnn.ModelSpec(network="vgg11", overrides={"conv1_1.kernel": 3}).check()
    with pytest.raises(ValueError, match="smallest input that fits is 32x32"):
        kcnn.ModelSpec(network="vgg11", input_shape=(16, 16, 3)).check()
    with pytest.raises(kcnn.UnknownNameError, match="no layer matches 'conv9_9'"):
        kcnn.ModelSpec(network="vgg11", overrides={"conv9_9.kernel": 3}).check()


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (kcnn.trace, {"network": "gogglenet"}),
        (kcnn.trace, {"network": "googlenet.torch"}),
        (kcnn.trace, {"network": "nobody:vgg11"}),
        (kcnn.trace, {"network": "mobilenet_v2", "widht": 0.5}),
        (kcnn.trace, {"network": "vgg11", "overrides": {"conv9_9.kernel": 3}}),
        (kcnn.trace, {"network": "vgg11", "overrides": {"conv1_1.kernl": 3}}),
        (kcnn.trace, {"network": "vgg11", "overrides": {"conv1_1_relu.function": "rellu"}}),
        (kcnn.trace, {"network": "vgg11", "outputs": ["conv9_9"]}),
        (kcnn.trace, {"network": "vgg11", "outputs": ["stage9"]}),
        (kcnn.ModelSpec.from_json, {"values": {"network": "vgg11", "colour": 3}}),
    ],
)
def test_unknown_name_error_is_raised_for_every_kind_of_name(function, keywords):
    with pytest.raises(kcnn.UnknownNameError) as error:
        function(**keywords)
    assert isinstance(error.value, LookupError)
    assert isinstance(error.value, ValueError)
    assert "Did you mean" in str(error.value) or "choose from" in str(error.value)


def test_summary_of_an_unknown_layer_suggests_the_nearest():
    with pytest.raises(kcnn.UnknownNameError, match=r"vgg11: no layer matches 'conv1_2'. Did you mean 'conv1_1'\?$"):
        kcnn.summary("vgg11")["conv1_2"]
