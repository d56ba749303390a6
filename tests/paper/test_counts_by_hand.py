"""Parameter counts that no reference table has: summed here from the papers' tables, typed again."""

import math

import pytest

import kcnn
from tests.paper.layer_counts import dense, normed, separable_twice


def test_inception_v2_has_the_parameters_and_macs_of_its_paper():
    total = 7 * 7 * 3 * 8  # the separable 7x7: eight filters a channel, neither bias nor normalisation
    total += normed(1, 24, 64) + normed(1, 64, 64) + normed(9, 64, 192)
    macs = 112**2 * (7 * 7 * 24 + 24 * 64) + 56**2 * (64 * 64 + 9 * 64 * 192) + 1024 * 1000
    before, size = 192, 28
    for c1, r3, c3, rd, cd, projection in (  # arXiv:1502.03167, figure 5; 0: the pooled input passes through
        (64, 64, 64, 64, 96, 32),
        (64, 64, 96, 64, 96, 64),
        (0, 128, 160, 64, 96, 0),
        (224, 64, 96, 96, 128, 128),
        (192, 96, 128, 96, 128, 128),
        (160, 128, 160, 128, 160, 96),
        (96, 128, 192, 160, 192, 96),
        (0, 128, 192, 192, 256, 0),
        (352, 192, 320, 160, 224, 128),
        (352, 192, 320, 192, 224, 128),
    ):
        total += normed(1, before, r3) + normed(9, r3, c3)
        total += normed(1, before, rd) + normed(9, rd, cd) + normed(9, cd, cd)
        macs += size**2 * (before * (r3 + rd) + 9 * rd * cd)
        size = size if c1 else size // 2
        macs += size**2 * (9 * r3 * c3 + 9 * cd * cd + (before * (c1 + projection) if c1 else 0))
        if c1:
            total += normed(1, before, c1) + normed(1, before, projection)
        before = c1 + c3 + cd + (projection or before)
    assert before == 1024
    total += dense(1024, 1000)
    assert total == 11_188_288
    assert kcnn.summary("inception_v2").params == total
    assert kcnn.summary("inception_v2").macs == macs


@pytest.mark.parametrize(
    ("name", "stem", "wide", "narrow", "groups", "repeats", "growth", "params"),
    [  # arXiv:1707.01629, table 1
        ("dpn92", (49, 64), 256, 96, 32, (3, 4, 20, 3), (16, 32, 24, 128), 37_668_392),
        ("dpn98", (49, 96), 256, 160, 40, (3, 6, 20, 3), (16, 32, 32, 128), 61_570_728),
    ],
)
def test_dpn_has_the_parameters_and_macs_of_its_paper(name, stem, wide, narrow, groups, repeats, growth, params):
    taps, before = stem
    total, macs, size = normed(taps, 3, before), 112**2 * taps * 3 * before, 56
    for stage in range(4):
        out, middle, more = wide << stage, narrow << stage, growth[stage]
        for unit in range(repeats[stage]):
            total += 2 * before + normed(1, before, middle)  # normalisation comes before each convolution
            after = size // 2 if stage and not unit else size
            macs += size**2 * before * middle + after**2 * (9 * middle * middle // groups + middle * (out + more))
            total += normed(9, middle // groups, middle) + middle * (out + more)
            if not unit:
                total += 2 * before + before * (out + 2 * more)
                macs += after**2 * before * (out + 2 * more)
                before = out + 2 * more
            before, size = before + more, after
    total += 2 * before + dense(before, 1000)
    assert total == params == kcnn.summary(name).params
    assert macs + before * 1000 == kcnn.summary(name).macs


@pytest.mark.parametrize(
    ("name", "repeats", "growth", "params"),
    [
        ("densenet121", (6, 12, 24, 16), 32, 7_978_856),
        ("densenet161", (6, 12, 36, 24), 48, 28_681_000),
        ("densenet169", (6, 12, 32, 32), 32, 14_149_480),
        ("densenet201", (6, 12, 48, 32), 32, 20_013_928),
    ],
)
def test_densenet_has_the_parameters_and_macs_of_its_paper(name, repeats, growth, params):
    before, side = 2 * growth, 56  # arXiv:1608.06993, table 1
    total, macs = normed(49, 3, before), 112**2 * 49 * 3 * before
    for block, count in enumerate(repeats):
        for _ in range(count):
            total += 2 * before + normed(1, before, 4 * growth) + 9 * 4 * growth * growth
            macs += side**2 * (before * 4 * growth + 9 * 4 * growth * growth)
            before += growth
        if block < 3:
            total += 2 * before + before * (before // 2)
            macs += side**2 * before * (before // 2)
            before, side = before // 2, side // 2
    assert total + 2 * before + dense(before, 1000) == params
    assert kcnn.summary(name).params == params
    assert kcnn.summary(name).macs == macs + before * 1000


@pytest.mark.parametrize(
    ("name", "repeats", "filters", "stem", "skips"),
    [("nasnet_mobile", 4, 44, 32, False), ("nasnet_large", 6, 168, 96, True)],  # arXiv:1707.07012, 4 @ 1056, 6 @ 4032
)
def test_nasnet_has_the_parameters_of_its_paper(name, repeats, filters, stem, skips):
    total = normed(9, 3, stem)

    def cell(before, previous, previous_is_larger, after, reduces):  # figure 4
        params, wide = normed(1, before, after), after
        if previous is None:
            wide = before  # the first cell sees the stem's maps twice, once without a 1x1
        elif previous_is_larger:
            params += 2 * previous * (after // 2) + 2 * after
        elif previous != after:
            params += normed(1, previous, after)
        if reduces:  # separable 5, 7, 7, 5, 3
            params += separable_twice(5, after, after) + 2 * separable_twice(7, wide, after)
            return params + separable_twice(5, wide, after) + separable_twice(3, after, after)
        return params + sum(separable_twice(kernel, after, after) for kernel in (5, 3, 5, 3, 3))

    total += cell(stem, None, False, filters // 4, True) + cell(4 * (filters // 4), stem, True, filters // 2, True)
    before, previous, is_larger = 4 * (filters // 2), 4 * (filters // 4), True
    for stage in range(3):
        width = filters << stage
        if stage:
            total += cell(before, previous, False, width, True)
            before, previous, is_larger = 4 * width, (previous if skips else before), True
        for _ in range(repeats):
            total += cell(before, previous, is_larger, width, False)
            before, previous, is_larger = 6 * width, before, False
    total += dense(24 * filters, 1000)
    assert kcnn.summary(name).params == total
    assert total == pytest.approx({"nasnet_mobile": 5.3e6, "nasnet_large": 88.9e6}[name], rel=2e-3)  # tables 3 and 2
    macs = {"nasnet_mobile": 564e6, "nasnet_large": 23.8e9}[name]
    assert kcnn.summary(name).macs == pytest.approx(macs, rel=1e-3)


BLOCKS = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def test_resnet_v2_has_the_macs_of_resnet():
    for layers in (50, 101, 152):
        assert kcnn.summary(f"resnet{layers}_v2").macs == kcnn.summary(f"resnet{layers}").macs
        assert kcnn.summary(f"resnet{layers}_v2.timm").macs == kcnn.summary(f"resnet{layers}.torchvision").macs


def test_inception_v2_blocks_have_the_depths_of_the_paper():
    rows = kcnn.summary("inception_v2")
    depths = [
        rows[f"inception_{block}"].shape[2] for block in ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    ]
    assert depths == [256, 320, 576, 576, 576, 576, 576, 1024, 1024, 1024]


def test_inception_resnet_v1_has_the_parameters_and_macs_of_its_paper():
    stem = [(9, 3, 32), (9, 32, 32), (9, 32, 64), (1, 64, 80), (9, 80, 192), (9, 192, 256)]  # figure 14
    a = [(1, 256, 32), (1, 256, 32), (9, 32, 32), (1, 256, 32), (9, 32, 32), (9, 32, 32)]  # figure 10
    to_b = [(9, 256, 384), (1, 256, 192), (9, 192, 192), (9, 192, 256)]  # figure 7 with table 1; + 256 pooled
    b = [(1, 896, 128), (1, 896, 128), (7, 128, 128), (7, 128, 128)]  # figure 11
    to_c = [(1, 896, 256), (9, 256, 384)]  # figure 12; + 896 pooled
    to_c += [(1, 896, 256), (9, 256, 256), (1, 896, 256), (9, 256, 256), (9, 256, 256)]
    c = [(1, 1792, 192), (1, 1792, 192), (3, 192, 192), (3, 192, 192)]  # figure 13
    total = sum(normed(*one) for one in (*stem, *a * 5, *to_b, *b * 10, *to_c, *c * 5))
    total += 5 * dense(96, 256) + 10 * dense(256, 896) + 5 * dense(384, 1792)  # the linear 1x1s, with bias
    total += dense(1792, 1000)
    assert total == 22_756_328
    assert kcnn.summary("inception_resnet_v1").params == total
    sides = [149, 147, 147, 73, 71, 35, *[35] * 30, 17, 35, 35, 17, *[17] * 40, 17, 8, 17, 8, 17, 17, 8, *[8] * 20]
    kernels = (*stem, *a * 5, *to_b, *b * 10, *to_c, *c * 5)
    macs = sum(k * i * o * side**2 for (k, i, o), side in zip(kernels, sides, strict=True))
    macs += 5 * 96 * 256 * 35**2 + 10 * 256 * 896 * 17**2 + 5 * 384 * 1792 * 8**2 + 1792 * 1000
    assert kcnn.summary("inception_resnet_v1").macs == macs
    rows = kcnn.summary("inception_resnet_v1")
    assert [rows[name].shape for name in ("stem6", "reduction_a", "reduction_b")] == [
        (35, 35, 256),
        (17, 17, 896),
        (8, 8, 1792),
    ]


@pytest.mark.parametrize(
    ("name", "without", "repeats", "widest"),
    [
        ("seresnet18", "resnet18", (2, 2, 2, 2), 512),
        ("seresnet34", "resnet34", (3, 4, 6, 3), 512),
        ("seresnet50", "resnet50", (3, 4, 6, 3), 2048),
        ("seresnet50.timm", "resnet50.torchvision", (3, 4, 6, 3), 2048),
        ("seresnet101", "resnet101", (3, 4, 23, 3), 2048),
        ("seresnet152", "resnet152", (3, 8, 36, 3), 2048),
        ("seresnext50_32x4d", "resnext50_32x4d", (3, 4, 6, 3), 2048),
        ("seresnext101_32x4d", "resnext101_32x4d", (3, 4, 23, 3), 2048),
    ],
)
def test_se_resnet_adds_the_papers_two_layers_to_each_unit(name, without, repeats, widest):
    units = [widest >> 3 - stage for stage, count in enumerate(repeats) for _ in range(count)]
    ours, theirs = kcnn.summary(name), kcnn.summary(without)
    weights = sum(2 * c * c // 16 for c in units)  # arXiv:1709.01507, section 4, with r = 16
    assert ours.params - theirs.params == weights + sum(c // 16 + c for c in units)
    assert ours.macs - theirs.macs == weights


@pytest.mark.parametrize("layers", [18, 34, 50, 101, 152])
def test_resnet_d_has_three_convolutions_for_the_first_of_resnet(layers):
    ours = kcnn.summary(f"resnet{layers}d")
    theirs = kcnn.summary(f"resnet{layers}" if layers < 50 else f"resnet{layers}.torchvision")
    kernels = 27 * 32 + 9 * 32 * 32 + 9 * 32 * 64 - 49 * 3 * 64  # arXiv:1812.01187, figure 2b
    assert ours.params - theirs.params == kernels + 2 * (32 + 32)
    assert ours.macs - theirs.macs == 112**2 * kernels
    pools = [row for row in ours if row.name.endswith("_skip_pool")]
    assert [row.shape[0] for row in pools] == [28, 14, 7]
    assert {row.op.mode for row in pools} == {"average"}


@pytest.mark.parametrize(
    ("name", "blocks", "first", "slope", "step", "group"),  # arXiv:2003.13678, figures 15 and 16: d, w0, wa, wm, g
    [
        ("regnet_x_200mf", 13, 24, 36.44, 2.49, 8),
        ("regnet_x_400mf", 22, 24, 24.48, 2.54, 16),
        ("regnet_x_600mf", 16, 48, 36.97, 2.24, 24),
        ("regnet_x_800mf", 16, 56, 35.73, 2.28, 16),
        ("regnet_x_1_6gf", 18, 80, 34.01, 2.25, 24),
        ("regnet_x_3_2gf", 25, 88, 26.31, 2.25, 48),
        ("regnet_x_4gf", 23, 96, 38.65, 2.43, 40),
        ("regnet_x_6_4gf", 17, 184, 60.83, 2.07, 56),
        ("regnet_x_8gf", 23, 80, 49.56, 2.88, 120),
        ("regnet_x_12gf", 19, 168, 73.36, 2.37, 112),
        ("regnet_x_16gf", 22, 216, 55.59, 2.1, 128),
        ("regnet_x_32gf", 23, 320, 69.86, 2.0, 168),
        ("regnet_y_200mf", 13, 24, 36.44, 2.49, 8),
        ("regnet_y_400mf", 16, 48, 27.89, 2.09, 8),
        ("regnet_y_600mf", 15, 48, 32.54, 2.32, 16),
        ("regnet_y_800mf", 14, 56, 38.84, 2.4, 16),
        ("regnet_y_1_6gf", 27, 48, 20.71, 2.65, 24),
        ("regnet_y_3_2gf", 21, 80, 42.63, 2.66, 24),
        ("regnet_y_4gf", 22, 96, 31.41, 2.24, 64),
        ("regnet_y_6_4gf", 25, 112, 33.22, 2.27, 72),
        ("regnet_y_8gf", 17, 192, 76.82, 2.19, 56),
        ("regnet_y_12gf", 19, 168, 73.36, 2.37, 112),
        ("regnet_y_16gf", 18, 200, 106.23, 2.48, 112),
        ("regnet_y_32gf", 20, 232, 115.89, 2.53, 232),
        ("regnet_y_128gf", 27, 456, 160.83, 2.52, 264),
    ],
)
def test_regnet_has_the_widths_of_a_quantized_linear_function(name, blocks, first, slope, step, group):
    powers = [round(math.log((first + slope * block) / first) / math.log(step)) for block in range(blocks)]
    quantized = [8 * round(first * step**power / 8) for power in powers]
    widths = [min(group, width) * round(width / min(group, width)) for width in quantized]  # 392 / 16 to 384: to even
    options = kcnn.get_architecture(name).options
    assert widths == [w for depth, w in zip(options["depths"], options["widths"], strict=True) for _ in range(depth)]
    total = macs = 0
    before, side = 32, 112
    for block, width in enumerate(widths):
        first_of_stage = block == 0 or width != widths[block - 1]
        taps = 9 * min(group, width)
        macs += side**2 * before * width
        side //= 2 if first_of_stage else 1
        macs += side**2 * width * (taps + width + before * first_of_stage)
        total += normed(1, before, width) + taps * width + 2 * width + normed(1, width, width)
        total += normed(1, before, width) if first_of_stage else 0
        if "_y_" in name:
            squeeze = round(before / 4)
            total += dense(width, squeeze) + dense(squeeze, width)
            macs += 2 * width * squeeze
        before = width
    assert kcnn.summary(name).params == total + normed(9, 3, 32) + dense(before, 1000)
    assert kcnn.summary(name).macs == macs + 112**2 * 27 * 32 + before * 1000


@pytest.mark.parametrize(
    ("name", "repeats", "filters", "version", "params"),
    [
        ("convnext_nano", (2, 2, 8, 2), 80, 1, 15_593_560),
        ("convnext_base", (3, 3, 27, 3), 128, 1, 88_591_464),
        ("convnext_v2_nano", (2, 2, 8, 2), 80, 2, 15_623_800),
    ],
)
def test_convnext_has_the_parameters_and_macs_of_its_paper(name, repeats, filters, version, params):
    total, macs, before = dense(8 * filters, 1000) + 2 * 8 * filters, 8 * filters * 1000, 0
    for stage, count in enumerate(repeats):
        width, pixels = filters << stage, (56 >> stage) ** 2
        kernel = 4 * before if stage else 16 * 3  # 2x2 pixels of the stage before, 4x4 of the image
        total += dense(kernel, width) + 2 * (before or width)  # and the norm before, or after the stem
        macs += pixels * kernel * width
        unit = dense(49, width) + 2 * width + dense(width, 4 * width) + dense(4 * width, width)
        unit += width if version == 1 else 2 * 4 * width  # layer scale, or global response normalization
        total += count * unit
        macs += count * pixels * (49 + 8 * width) * width
        before = width
    assert total == params
    assert (kcnn.summary(name).params, kcnn.summary(name).macs) == (total, macs)


@pytest.mark.parametrize(
    ("name", "repeats", "width", "params"),
    [
        ("resnet50x1_bit", (3, 4, 6, 3), 1, 25_549_352),
        ("resnet50x3_bit", (3, 4, 6, 3), 3, 217_319_080),
        ("resnet101x1_bit", (3, 4, 23, 3), 1, 44_541_480),
        ("resnet101x3_bit", (3, 4, 23, 3), 3, 387_934_888),
        ("resnet152x2_bit", (3, 8, 36, 3), 2, 236_335_208),
        ("resnet152x4_bit", (3, 8, 36, 3), 4, 936_533_224),
    ],
)
def test_bit_has_the_parameters_and_macs_of_a_wider_resnet_v2(name, repeats, width, params):
    before = 64 * width
    total, macs = 49 * 3 * before, 112**2 * 49 * 3 * before
    for stage, count in enumerate(repeats):
        inner, size = 64 * width << stage, 56 >> stage
        for unit in range(count):
            first = 2 * size if stage and not unit else size  # the 3x3 has the stride
            total += 2 * before + 2 * inner + 2 * inner  # group normalization before each convolution
            total += before * inner + 9 * inner**2 + 4 * inner**2 + (0 if unit else before * 4 * inner)
            macs += first**2 * before * inner + size**2 * (13 * inner**2 + (0 if unit else before * 4 * inner))
            before = 4 * inner
    total += 2 * before + dense(before, 1000)
    macs += before * 1000
    assert total == params
    assert (kcnn.summary(name).params, kcnn.summary(name).macs) == (total, macs)


@pytest.mark.parametrize(
    ("projected", "units", "trained", "moving"),
    [("padding", 200, 19_421_274, 89_632), ("projection", 200, 19_424_026, 89_824)],
)
def test_resnet20_of_200_units_has_the_parameters_of_the_papers_1202_layers(projected, units, trained, moving):
    found = kcnn.summary(kcnn.trace("resnet20", units=units, shortcut=projected))
    assert (found.params, found.non_trainable_params) == (trained, moving)


def test_plain20_is_resnet20_without_its_shortcuts():
    assert kcnn.summary("plain20").params == kcnn.summary("resnet20").params
    differing = [str(layer) for layer in kcnn.diff("resnet20", "plain20").layers]
    assert all("_add" in one or "_skip" in one or "inputs" in one for one in differing)


@pytest.mark.parametrize(
    ("name", "depths", "a", "b", "groups"),
    [  # arXiv:2101.03697, table 3
        ("repvgg_b1", (4, 6, 16, 1), 2, 4, 1),
        ("repvgg_b2g4", (4, 6, 16, 1), 2.5, 5, 4),
        ("repvgg_b3g4", (4, 6, 16, 1), 3, 5, 4),
    ],
)
def test_repvgg_has_the_parameters_and_macs_of_its_table(name, depths, a, b, groups):
    layers = [(3, 64, 112, True)]  # channels before and after, pixels a side, whether the stride is 2
    for depth, filters, size in zip(depths, (64 * a, 128 * a, 256 * a, 512 * b), (56, 28, 14, 7), strict=True):
        layers += [(layers[-1][1] if not unit else int(filters), int(filters), size, not unit) for unit in range(depth)]
    total, macs = dense(layers[-1][1], 1000), layers[-1][1] * 1000
    for number, (before, after, size, strided) in enumerate(layers):
        share = groups if number and number % 2 == 0 else 1
        total += normed(9, before // share, after) + normed(1, before // share, after)
        total += 2 * after if before == after and not strided else 0  # the norm of the input
        macs += size**2 * 10 * before * after // share
    assert (kcnn.summary(name).params, kcnn.summary(name).macs) == (total, macs)
