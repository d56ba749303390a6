"""Parameters of networks of inverted residuals or shuffled channels, summed from the papers' tables, typed again."""

import pytest

import kcnn
from tests.paper.layer_counts import dense, inverted, normed, scaled


@pytest.mark.parametrize(
    ("name", "channels", "params", "macs"),
    [
        ("shufflenet_v2_x0_5", (48, 96, 192, 1024), 1_366_792, 40_476_448),
        ("shufflenet_v2_x1_5", (176, 352, 704, 1024), 3_503_624, 295_759_392),
    ],
)
def test_shufflenet_v2_has_the_parameters_and_macs_of_its_paper(name, channels, params, macs):
    total, cost = normed(9, 3, 24) + dense(1024, 1000), 112**2 * 27 * 24 + 1024 * 1000
    before, size = 24, 28
    for out, repeats in zip(channels[:3], (4, 8, 4), strict=True):  # arXiv:1807.11164, table 5
        half = out // 2
        total += normed(9, 1, before) + normed(1, before, half)  # beside the branch (figure 3d)
        total += normed(1, before, half) + normed(9, 1, half) + normed(1, half, half)
        cost += size**2 * (9 * before + before * half + 4 * before * half + 9 * half + half * half)
        total += (repeats - 1) * (2 * normed(1, half, half) + normed(9, 1, half))  # figure 3c
        cost += (repeats - 1) * size**2 * (2 * half * half + 9 * half)
        before, size = out, size // 2
    total += normed(1, before, channels[3])
    cost += 7 * 7 * before * channels[3]
    assert (total, cost) == (params, macs)
    assert (kcnn.summary(name).params, kcnn.summary(name).macs) == (params, macs)


def test_shufflenet_v2_shuffles_halves_of_which_one_was_left_alone():
    rows = kcnn.summary("shufflenet_v2_x1_0")
    assert rows["stage2_unit2_first"].shape == rows["stage2_unit2_second"].shape == (28, 28, 58)
    assert [rows[f"stage{stage}_unit1"].shape for stage in (2, 3, 4)] == [(28, 28, 116), (14, 14, 232), (7, 7, 464)]
    changed = kcnn.trace("shufflenet_v2_x1_0", overrides={"stage2_unit1_c.filters": 60})
    assert kcnn.summary(changed)["stage2_unit2_second"].shape == (28, 28, 59)  # the halves follow the width
    wider = kcnn.trace("shufflenet_v2_x1_0", overrides={"stage2_unit1_b.stride": 1})
    assert kcnn.summary(wider)["stage2_unit1"].shape == (56, 56, 116)
    with pytest.raises(
        ValueError, match="layer 'stage2_unit2_second': cannot take channels 58:200 of the 116 channels"
    ):
        kcnn.trace("shufflenet_v2_x1_0", overrides={"stage2_unit2_second.stop": 200})
    with pytest.raises(
        ValueError, match="layer 'stage1_unit1_y_residual': cannot take channels 0:64 of the 40 channels"
    ):
        kcnn.trace("dpn68", overrides={"stage1_unit1_c.filters": 40})


LARGE = (  # kernel, expansion, channels, squeeze (a quarter of the expansion, to a multiple of 8) or 0
    (3, 16, 16, 0),
    (3, 64, 24, 0),
    (3, 72, 24, 0),
    (5, 72, 40, 24),
    (5, 120, 40, 32),
    (5, 120, 40, 32),
    (3, 240, 80, 0),
    (3, 200, 80, 0),
    (3, 184, 80, 0),
    (3, 184, 80, 0),
    (3, 480, 112, 120),
    (3, 672, 112, 168),
    (5, 672, 160, 168),
    (5, 960, 160, 240),
    (5, 960, 160, 240),
)


SMALL = (
    (3, 16, 16, 8),
    (3, 72, 24, 0),
    (3, 88, 24, 0),
    (5, 96, 40, 24),
    (5, 240, 40, 64),
    (5, 240, 40, 64),
    (5, 120, 48, 32),
    (5, 144, 48, 40),
    (5, 288, 96, 72),
    (5, 576, 96, 144),
    (5, 576, 96, 144),
)


@pytest.mark.parametrize(
    ("name", "table", "last", "units", "minimalistic", "params"),
    [
        ("mobilenet_v3_large", LARGE, 960, 1280, False, 5_483_032),
        ("mobilenet_v3_small", SMALL, 576, 1024, False, 2_542_856),
        ("mobilenet_v3_large.minimalistic", LARGE, 960, 1280, True, 3_924_288),
        ("mobilenet_v3_small.minimalistic", SMALL, 576, 1024, True, 2_044_736),
    ],
)
def test_mobilenet_v3_has_the_parameters_of_its_paper(name, table, last, units, minimalistic, params):
    total, before = normed(9, 3, 16), 16
    for kernel, expand, filters, squeeze in table:
        pixels = 9 if minimalistic else kernel**2
        total += (normed(1, before, expand) if expand != before else 0) + pixels * expand + 2 * expand
        total += dense(expand, squeeze) + dense(squeeze, expand) if squeeze and not minimalistic else 0
        total += normed(1, expand, filters)
        before = filters
    total += normed(1, before, last) + dense(last, units) + dense(units, 1000)
    assert total == params
    assert kcnn.summary(name).params == total


def test_efficientnet_b5_has_the_parameters_of_its_paper():
    table = ((1, 3, 16, 1), (6, 3, 24, 2), (6, 5, 40, 2), (6, 3, 80, 3), (6, 5, 112, 3), (6, 5, 192, 4), (6, 3, 320, 1))
    before = scaled(32, 1.6)
    total = normed(9, 3, before)
    for expand, kernel, channels, layers in table:
        for _ in range(-int(-2.2 * layers // 1)):  # rounded up
            after = scaled(channels, 1.6)
            total += inverted(before, expand * before, after, (kernel,), before // 4)
            before = after
    total += normed(1, before, scaled(1280, 1.6)) + dense(scaled(1280, 1.6), 1000)
    assert total == 30_389_784  # as torchvision has it
    assert kcnn.summary("efficientnet_b5").params == total


def test_efficientnet_v2_m_has_the_parameters_of_the_authors_code():
    total, before = normed(9, 3, 24), 24
    for is_fused, expand, after, layers in (
        (True, 1, 24, 3),
        (True, 4, 48, 5),
        (True, 4, 80, 5),
        (False, 4, 160, 7),
        (False, 6, 176, 14),
        (False, 6, 304, 18),
        (False, 6, 512, 5),
    ):
        for _ in range(layers):
            if not is_fused:
                total += inverted(before, expand * before, after, squeeze=before // 4)
            elif expand == 1:
                total += normed(9, before, after)
            else:
                total += normed(9, before, expand * before) + normed(1, expand * before, after)
            before = after
    total += normed(1, 512, 1280) + dense(1280, 1000)
    assert total == 54_139_356  # as torchvision has it
    assert kcnn.summary("efficientnet_v2_m").params == total


def test_mnasnet0_75_has_the_parameters_of_the_authors_code():
    before = scaled(32, 0.75)
    total = normed(9, 3, before)
    for expand, kernel, channels, layers in (
        (1, 3, 16, 1),
        (3, 3, 24, 3),
        (3, 5, 40, 3),
        (6, 5, 80, 3),
        (6, 3, 96, 2),
        (6, 5, 192, 4),
        (6, 3, 320, 1),
    ):
        for _ in range(layers):
            after = scaled(channels, 0.75)
            total += inverted(before, expand * before, after, (kernel,))
            before = after
    total += normed(1, before, 1280) + dense(1280, 1000)
    assert total == 3_170_208  # as torchvision has it
    assert kcnn.summary("mnasnet0_75").params == total


def test_mobilenet_v4_conv_medium_has_the_parameters_of_its_paper():
    total, before = normed(9, 3, 32) + normed(9, 32, 128) + normed(1, 128, 48), 48
    for start, middle, expand, after in (
        (3, 5, 192, 80),
        (3, 3, 160, 80),
        (3, 5, 480, 160),
        *((3, 3, 640, 160),) * 2,
        (3, 5, 640, 160),
        (3, 3, 640, 160),
        (3, 0, 640, 160),
        (0, 0, 320, 160),
        (3, 0, 640, 160),
        (5, 5, 960, 256),
        (5, 5, 1024, 256),
        *((3, 5, 1024, 256),) * 2,
        (0, 0, 1024, 256),
        (3, 0, 1024, 256),
        (3, 5, 512, 256),
        (5, 5, 1024, 256),
        *((0, 0, 1024, 256),) * 2,
        (5, 0, 512, 256),
    ):
        total += start**2 * before + 2 * before if start else 0
        total += inverted(before, expand, after, (middle,) if middle else ())
        before = after
    total += normed(1, 256, 960) + normed(1, 960, 1280) + dense(1280, 1000)
    assert total == 9_715_512
    assert kcnn.summary("mobilenet_v4_conv_medium").params == total
