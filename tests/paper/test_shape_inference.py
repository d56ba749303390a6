"""What windows, shapes, costs and receptive fields come to, by hand and by counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kcnn
from kcnn.graph import costs as op_costs
from kcnn.graph import ops, shape_inference
from kcnn.graph.tracing import SymbolicTensor, apply
from kcnn.graph.windows import WHOLE_INPUT, InputTooSmallError, Window, output_size, padding_amounts

PADDINGS = st.one_of(st.sampled_from(["same", "valid", "half", "ceil"]), st.integers(0, 4))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "positions"),
    [
        (224, 7, 2, "same", 112),
        (224, 7, 2, "half", 112),
        (224, 7, 2, "valid", 109),
        (227, 11, 4, "valid", 55),
        (112, 3, 2, "ceil", 56),
        (57, 3, 2, "ceil", 28),
        (58, 3, 2, "ceil", 29),
        (28, 5, 1, "valid", 24),
        (28, 5, 1, 2, 28),
        (28, 2, 1, "half", 29),
    ],
)
def test_output_size_by_hand(size, kernel, stride, padding, positions):
    assert output_size(size, kernel, stride, padding) == positions


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), PADDINGS)
def test_output_size_counts_every_position_that_fits(size, kernel, stride, padding):
    before, after = padding_amounts(size, kernel, stride, padding, 0)
    room = size + before + after
    starts = [i for i in range(0, room, stride) if i + kernel <= room]
    if starts:
        assert output_size(size, kernel, stride, padding) == len(starts)
    else:
        with pytest.raises(InputTooSmallError):
            output_size(size, kernel, stride, padding)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_output_size_of_same_padding_rounds_up(size, kernel, stride):
    before, after = padding_amounts(size, kernel, stride, "same", 0)
    assert output_size(size, kernel, stride, "same") == -(-size // stride)
    assert 0 <= after - before <= 1


@given(st.integers(2, 40), st.integers(1, 9), st.integers(1, 5))
def test_output_size_of_ceil_padding_starts_no_window_outside_the_input(size, kernel, stride):
    rounded = -(-(size - kernel) // stride) + 1
    if (rounded - 1) * stride >= size:
        rounded -= 1
    if rounded >= 1 and kernel <= size:
        assert output_size(size, kernel, stride, "ceil") == rounded


def test_output_shape_takes_explicit_padding_literally():
    op = ops.Conv(4, (3, 5), padding=((1, 0), (2, 3)))
    assert shape_inference.output_shape(op, (10, 10, 2)) == (10 + 1 - 2, 10 + 5 - 4, 4)
    assert shape_inference.output_shape(ops.Conv(4, 3, padding=(1, 0)), (10, 10, 2)) == (10, 8, 4)


def test_count_params_and_macs_of_a_grouped_convolution_by_hand():
    op, x = ops.Conv(8, (3, 5), groups=2, stride=(1, 2)), (10, 12, 6)
    out = shape_inference.output_shape(op, x)
    assert out == (10, 6, 8)
    assert op_costs.count_params(op, x) == 3 * 5 * 3 * 8 + 8
    assert op_costs.count_macs(op, x, out=out) == 10 * 6 * 3 * 5 * 3 * 8


def test_channel_slice_and_shuffle_cost_nothing_and_see_one_pixel():
    for op, out in (
        (ops.ChannelSlice(1, 4), (7, 5, 3)),
        (ops.ChannelSlice(2), (7, 5, 4)),
        (ops.ChannelShuffle(3), (7, 5, 6)),
    ):
        x = (7, 5, 6)
        assert shape_inference.output_shape(op, x) == out
        assert op_costs.count_params(op, x) == op_costs.count_macs(op, x, out=out) == 0
        assert shape_inference.input_window(op, x) is None


def test_norms_have_a_scale_and_an_offset_and_those_over_the_image_see_all_of_it():
    x = (7, 5, 6)
    for op, params, window in (
        (ops.LayerNorm(), 12, None),
        (ops.LayerNorm(center=False), 6, None),
        (ops.LayerScale(), 6, None),
        (ops.GroupNorm(3), 12, WHOLE_INPUT),
        (ops.GroupNorm(3, scale=False, center=False), 0, WHOLE_INPUT),
        (ops.GlobalResponseNorm(), 12, WHOLE_INPUT),
    ):
        assert shape_inference.output_shape(op, x) == x
        assert op_costs.count_params(op, x) == params
        assert op_costs.count_non_trainable_params(op, x) == op_costs.count_macs(op, x, out=x) == 0
        assert shape_inference.input_window(op, x) == window


def test_crop_moves_the_window_by_what_is_cut_off():
    op = ops.Crop(((1, 2), (3, 0)))
    assert shape_inference.output_shape(op, (7, 5, 6)) == (4, 2, 6)
    assert op_costs.count_params(op, (7, 5, 6)) == op_costs.count_macs(op, (7, 5, 6), out=(4, 2, 6)) == 0
    assert shape_inference.input_window(op, (7, 5, 6)) == Window((1, 1), (1, 1), (-1, -3))


def test_trace_refuses_a_channel_slice_that_no_longer_fits():
    def backbone(x, *, filters=8):
        x = apply(ops.Conv(filters), x, name="a")
        return apply(ops.ChannelSlice(4, 8), x, name="upper")

    network = kcnn.Architecture(backbone=backbone, reference="none", input_shape=(8, 8, 3))
    assert kcnn.summary(network)["upper"].shape == (8, 8, 4)
    with pytest.raises(ValueError, match="layer 'upper': cannot take channels 4:8 of the 6 channels of the input"):
        kcnn.trace(network, overrides={"a.filters": 6})
    with pytest.raises(ValueError, match="layer 'upper': cannot take channels 4:9 of the 8 channels of the input"):
        kcnn.trace(network, overrides={"upper.stop": 9})


def test_output_shape_of_a_strided_and_dilated_depthwise_convolution_by_hand():
    op = ops.Depthwise(3, stride=(2, 1), dilation=(2, 3), padding="valid")
    assert shape_inference.output_shape(op, (9, 9, 4)) == ((9 - 5) // 2 + 1, 9 - 7 + 1, 4)
    assert shape_inference.output_shape(ops.Depthwise(3, stride=(1, 2)), (9, 9, 4)) == (9, 5, 4)


@pytest.mark.parametrize(
    ("op", "x", "says"),
    [
        (ops.Conv(8, 3, stride=2, dilation=2), (9, 9, 3), "stride 2 cannot be combined with dilation 2"),
        (ops.Conv(8, 3, stride=(2, 1), dilation=(1, 2)), (9, 9, 3), "cannot be combined with dilation"),
        (ops.Conv(8, 3, groups=2), (9, 9, 3), "do not divide"),
        (ops.Conv(8, 3, padding="ceil"), (9, 9, 3), "for pools"),
        (ops.Conv(8, 3, padding="full"), (9, 9, 3), "padding must be"),
        (ops.Conv(8, 3, padding=-1), (9, 9, 3), "padding must be"),
        (ops.Conv(8, 0), (9, 9, 3), "kernel must be"),
        (ops.Conv(8, 2.5), (9, 9, 3), "kernel must be"),
        (
            ops.Conv(8, 3, padding_mode="mirror"),
            (9, 9, 3),
            "unknown padding mode 'mirror'; choose from zeros, reflect, edge",
        ),
        (
            ops.Conv(8, 3, padding=1, padding_mode="mirror"),
            (9, 9, 3),
            "unknown padding mode 'mirror'; choose from zeros, reflect, edge",
        ),
        (ops.Conv(8, 9, padding=4, padding_mode="reflect"), (4, 4, 3), "cannot be reflected"),
        (ops.Conv(8, (3, 13), padding=1), (9, 9, 3), "kernel size 13 exceeds the padded input width of 11"),
        (ops.Conv(8, 11, padding="valid"), (9, 9, 3), "kernel size 11 exceeds the padded input height of 9"),
        (ops.Pool(2, padding=2), (9, 9, 3), "padding 2 must be less than the pool's kernel 2"),
        (ops.Pool(mode="median"), (9, 9, 3), "unknown pooling mode 'median'; choose from max, average"),
        (ops.Dense(3), (9, 9, 3), r"Dense expects a flat input, got \(9, 9, 3\); add Flatten or global pooling"),
        (ops.ChannelSlice(4, 12), (9, 9, 10), "cannot take channels 4:12 of the 10 channels of the input"),
        (ops.ChannelSlice(10), (9, 9, 10), "cannot take channels 10: of the 10 channels of the input"),
        (ops.ChannelSlice(4, 4), (9, 9, 10), "cannot take channels 4:4"),
        (ops.ChannelSlice(-1), (9, 9, 10), "cannot take channels -1:"),
        (ops.ChannelSlice(0, 2.0), (9, 9, 10), "cannot take channels 0:2.0"),
        (ops.Crop(((4, 5), (0, 0))), (9, 9, 3), r"cropping .* leaves nothing of an input of 9x9 pixels"),
        (ops.Crop(((-1, 0), (0, 0))), (9, 9, 3), r"cropping must be \(\(top, bottom\), \(left, right\)\)"),
        (ops.Crop(3), (9, 9, 3), r"cropping must be \(\(top, bottom\), \(left, right\)\)"),
        (ops.ChannelShuffle(4), (9, 9, 10), "4 groups do not divide 10 input channels"),
        (ops.ChannelShuffle(0), (9, 9, 10), "groups must be"),
        (ops.GroupNorm(4), (9, 9, 10), "4 groups do not divide 10 input channels"),
        (ops.GlobalResponseNorm(), (10,), r"GlobalResponseNorm expects \(rows, columns, channels\), got \(10,\)"),
        (ops.Activation("rellu"), (9,), "unknown activation 'rellu'. Did you mean 'relu'"),
        (ops.LeakyRelu(-0.1), (9,), "negative_slope must be 0 or more, got -0.1"),
        (ops.Dropout(1.0), (9,), r"rate must be in \[0, 1\), got 1.0"),
    ],
)
def test_output_shape_refuses_an_invalid_op(op, x, says):
    with pytest.raises(ValueError, match=says):
        shape_inference.output_shape(op, x)


windows = st.builds(
    ops.Conv,
    filters=st.just(1),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid", "half", 1, ((0, 1), (2, 0))]),
)


@given(st.lists(windows, min_size=1, max_size=4))
def test_receptive_field_agrees_with_counting_pixels(stack):
    x = image = SymbolicTensor((40, 37, 1), "image")
    try:
        for i, op in enumerate(stack):
            x = apply(op, x, name=f"conv{i}")
    except ValueError:
        return
    row = kcnn.summary(x)[f"conv{len(stack) - 1}"]
    for axis in (0, 1):
        for position in {0, x.shape[axis] // 2, x.shape[axis] - 1}:
            seen = {position}  # positions, traced back through the stack; those in the padding count as seen
            for op, size in reversed(list(zip(stack, _sizes(stack, image.shape[axis], axis), strict=True))):
                before, _ = padding_amounts(size, op.kernel[axis], op.stride[axis], op.padding, axis)
                seen = {p * op.stride[axis] - before + k for p in seen for k in range(op.kernel[axis])}
            assert min(seen) == row.offset[axis] + position * row.stride[axis]
            assert max(seen) - min(seen) + 1 == row.receptive_field[axis]


def _sizes(stack, size, axis):
    """The input size of every op along one axis."""
    sizes = []
    for op in stack:
        sizes.append(size)
        size = output_size(size, op.kernel[axis], op.stride[axis], op.padding, axis)
    return sizes


def test_receptive_field_of_joined_branches_is_their_union():
    x = SymbolicTensor((32, 32, 3), "image")
    left = apply(ops.Conv(4, 3, padding=((0, 2), (1, 1))), x, name="left")
    right = apply(ops.Conv(4, 3, padding=((2, 0), (1, 1))), x, name="right")
    row = kcnn.summary(apply(ops.Concat(), left, right, name="both"))["both"]
    assert row.offset == (-2, -1)
    assert row.receptive_field == (5, 3)
