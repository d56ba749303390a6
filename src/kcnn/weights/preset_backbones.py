"""The backbones of KerasHub whose networks kcnn has: the fields of their configs, by the name of presets."""

from collections.abc import Mapping
from typing import Any

RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_strides": [1, 2, 2, 2],
    "use_pre_activation": False,
}
RESNET_VD = {**RESNET, "input_conv_filters": [32, 32, 64], "input_conv_kernel_sizes": [3, 3, 3]}
EFFICIENTNET = {
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    "stackwise_block_types": ["v1"] * 7,
    "stackwise_force_input_filters": [0] * 7,
    "depth_divisor": 8,
    "min_depth": None,
    "activation": "swish",
    "include_stem_padding": True,
    "use_depth_divisor_as_min_depth": True,
    "cap_round_filter_decrease": True,
    "stem_conv_padding": "valid",
    "batch_norm_epsilon": 1e-5,
    "projection_activation": None,
}
MOBILENET_V3_SMALL = {
    "stackwise_expansion": [[72, 88], [96, 240, 240], [120, 144], [288, 576, 576]],
    "stackwise_num_blocks": [2, 3, 2, 3],
    "stackwise_num_filters": [[24, 24], [40, 40, 40], [48, 48], [96, 96, 96]],
    "stackwise_kernel_size": [[3, 3], [5, 5, 5], [5, 5], [5, 5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1, 1], [1, 1], [2, 1, 1]],
    "stackwise_se_ratio": [[None, None], [0.25, 0.25, 0.25], [0.25, 0.25], [0.25, 0.25, 0.25]],
    "stackwise_activation": [["relu"] * 2, ["hard_swish"] * 3, ["hard_swish"] * 2, ["hard_swish"] * 3],
    "stackwise_padding": [[1, 1], [2, 2, 2], [2, 2], [2, 2, 2]],
    "input_num_filters": 16,
    "depthwise_filters": 16,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "last_layer_filter": 576,
    "squeeze_and_excite": 0.5,
    "input_activation": "hard_swish",
    "output_activation": "hard_swish",
}
MOBILENET_V3_LARGE = {
    **MOBILENET_V3_SMALL,
    "stackwise_expansion": [[64, 72], [72, 120, 120], [240, 200, 184, 184], [480, 672], [672, 960, 960]],
    "stackwise_num_blocks": [2, 3, 4, 2, 3],
    "stackwise_num_filters": [[24, 24], [40, 40, 40], [80, 80, 80, 80], [112, 112], [160, 160, 160]],
    "stackwise_kernel_size": [[3, 3], [5, 5, 5], [3, 3, 3, 3], [3, 3], [5, 5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1, 1], [2, 1, 1, 1], [1, 1], [2, 1, 1]],
    "stackwise_se_ratio": [[None] * 2, [0.25] * 3, [None] * 4, [0.25] * 2, [0.25] * 3],
    "stackwise_activation": [["relu"] * 2, ["relu"] * 3, ["hard_swish"] * 4, ["hard_swish"] * 2, ["hard_swish"] * 3],
    "stackwise_padding": [[1, 1], [2, 2, 2], [1, 1, 1, 1], [1, 1], [2, 2, 2]],
    "depthwise_stride": 1,
    "depthwise_residual": True,
    "last_layer_filter": 960,
    "squeeze_and_excite": None,
}
XCEPTION_FILTERS = [[32, 64], [128, 128], [256, 256], [728, 728], *[[728] * 3] * 8, [728, 1024], [1536, 2048]]
BACKBONES: dict[str, tuple[str, Mapping[str, Any]]] = {  # by name, the class and the fields of its config
    **{
        f"resnet_{name}": (
            "ResNetBackbone",
            {
                **table,
                "stackwise_num_blocks": blocks,
                "block_type": block_type,
                "use_pre_activation": name.startswith("v2"),
            },
        )
        for name, table, blocks, block_type in (
            ("18", RESNET, [2, 2, 2, 2], "basic_block"),
            ("34", RESNET, [3, 4, 6, 3], "basic_block"),
            ("50", RESNET, [3, 4, 6, 3], "bottleneck_block"),
            ("101", RESNET, [3, 4, 23, 3], "bottleneck_block"),
            ("152", RESNET, [3, 8, 36, 3], "bottleneck_block"),
            ("v2_50", RESNET, [3, 4, 6, 3], "bottleneck_block"),
            ("v2_101", RESNET, [3, 4, 23, 3], "bottleneck_block"),
            ("v2_152", RESNET, [3, 8, 36, 3], "bottleneck_block"),
            ("vd_50", RESNET_VD, [3, 4, 6, 3], "bottleneck_block_vd"),
            ("vd_101", RESNET_VD, [3, 4, 23, 3], "bottleneck_block_vd"),
            ("vd_152", RESNET_VD, [3, 8, 36, 3], "bottleneck_block_vd"),
        )
    },
    **{
        f"efficientnet_{name}": (
            "EfficientNetBackbone",
            {
                **EFFICIENTNET,
                "stackwise_width_coefficients": [width] * 7,
                "stackwise_depth_coefficients": [depth] * 7,
                **others,
            },
        )
        for name, width, depth, others in (
            ("b0", 1.0, 1.0, {}),
            ("b1", 1.0, 1.1, {}),
            ("b2", 1.1, 1.2, {}),
            ("b3", 1.2, 1.4, {}),
            ("b4", 1.4, 1.8, {}),
            ("b5", 1.6, 2.2, {}),
            ("lite0", 1.0, 1.0, {"stackwise_squeeze_and_excite_ratios": [0] * 7, "activation": "relu6"}),
        )
    },
    **{
        f"densenet_{name}": (
            "DenseNetBackbone",
            {"stackwise_num_repeats": repeats, "compression_ratio": 0.5, "growth_rate": 32},
        )
        for name, repeats in (("121", [6, 12, 24, 16]), ("169", [6, 12, 32, 32]), ("201", [6, 12, 48, 32]))
    },
    **{
        f"vgg_{name}": (
            "VGGBackbone",
            {"stackwise_num_repeats": repeats, "stackwise_num_filters": [64, 128, 256, 512, 512]},
        )
        for name, repeats in (
            ("11", [1, 1, 2, 2, 2]),
            ("13", [2, 2, 2, 2, 2]),
            ("16", [2, 2, 3, 3, 3]),
            ("19", [2, 2, 4, 4, 4]),
        )
    },
    "xception_41": (
        "XceptionBackbone",
        {
            "stackwise_conv_filters": XCEPTION_FILTERS,
            "stackwise_pooling": [False, True, True, True, *[False] * 8, True, False],
        },
    ),
    "mobilenet_v3_small_100": ("MobileNetBackbone", MOBILENET_V3_SMALL),
    "mobilenet_v3_large_100": ("MobileNetBackbone", MOBILENET_V3_LARGE),
}
