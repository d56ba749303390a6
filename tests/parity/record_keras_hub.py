"""Record presets of KerasHub with seeded weights: python -m tests.parity.record_keras_hub NAME ...

Needs keras_hub. Writes NAME.json.gz into presets/ beside itself: the config files of a preset, which groups, layers and
shapes its weights have, and the logits for seeded images. "one FILE NAME ROWSxCOLUMNS ..." writes the record of a
single preset elsewhere, for images of these sizes. kcnn takes no part.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path

import h5py
import keras
import keras_hub
from keras_hub import models
from keras_hub.src.utils.timm import (
    convert_densenet,
    convert_efficientnet,
    convert_mobilenet,
    convert_resnet,
    convert_vgg,
)

from tests.parity.seeded import CLASSES, pixels, seeded_variables

FOLDER = Path(__file__).parent / "presets"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation
HALF = ((0.5,) * 3, (0.5,) * 3)
CONFIGS = ("config.json", "task.json", "preprocessor.json", "image_converter.json")
WEIGHTS = ("model.weights.h5", "task.weights.h5")
GAIN = {
    "mobilenet_v3_large_100": 0.9,
    "efficientnet_b4": 0.9,
    "efficientnet_b5": 0.9,
}  # of seeded kernels: with 1, gates amplify rounding; with 0.8, they hide the image
SIZES = ((224, 224), (97, 131))
XCEPTION = {
    "stackwise_conv_filters": [[32, 64], [128, 128], [256, 256], [728, 728]]
    + [[728] * 3] * 8
    + [[728, 1024], [1536, 2048]],
    "stackwise_pooling": [False, True, True, True] + [False] * 8 + [True, False],
}


def make_vd(*blocks):
    """Return the config of a ResNet-vd of bottlenecks."""
    return {
        "input_conv_filters": [32, 32, 64],
        "input_conv_kernel_sizes": [3, 3, 3],
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": list(blocks),
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": "bottleneck_block_vd",
    }


def convert(module, *names):
    """Return KerasHub's own configs of networks that it converts from timm, by KerasHub's names."""
    return {ours: module.convert_backbone_config({"architecture": theirs}) for ours, theirs in names}


FAMILIES = (  # kind, configs by name, mean and deviation of pixels, sizes of images
    (
        "ResNet",
        convert(convert_resnet, *((f"resnet_{n}", f"resnet{n}") for n in (18, 34, 50, 101, 152))),
        IMAGENET,
        SIZES,
    ),
    ("ResNet", convert(convert_resnet, *((f"resnet_v2_{n}", f"resnetv2_{n}") for n in (50, 101, 152))), HALF, SIZES),
    (
        "ResNet",
        {"resnet_vd_50": make_vd(3, 4, 6, 3), "resnet_vd_101": make_vd(3, 4, 23, 3)}
        | {"resnet_vd_152": make_vd(3, 8, 36, 3)},
        IMAGENET,
        SIZES,
    ),
    (
        "EfficientNet",
        convert(
            convert_efficientnet, *((f"efficientnet_{n}",) * 2 for n in ("b0", "b1", "b2", "b3", "b4", "b5", "lite0"))
        ),
        HALF,
        SIZES,
    ),
    (
        "DenseNet",
        convert(convert_densenet, *((f"densenet_{n}", f"densenet{n}") for n in (121, 169, 201))),
        IMAGENET,
        SIZES,
    ),
    (
        "VGG",
        convert(convert_vgg, *((f"vgg_{n}", f"vgg{n}") for n in (11, 13, 16, 19))),
        IMAGENET,
        ((224, 224), (230, 251)),
    ),
    ("Xception", {"xception_41": XCEPTION}, HALF, ((299, 299), (107, 139))),
    (
        "MobileNet",
        convert(convert_mobilenet, *((f"mobilenet_v3_{n}", f"mobilenetv3_{n}") for n in ("small_100", "large_100"))),
        IMAGENET,
        SIZES,
    ),
)
NETWORKS = {name: (kind, config, *rest) for kind, configs, *rest in FAMILIES for name, config in configs.items()}


def record_preset(name, *sizes):
    """Return the record of one preset, for images of the sizes of its family or of others."""
    kind, config, (mean, deviation), usual = NETWORKS[name]
    gain = GAIN.get(name, 1.0)
    task, preprocessor = (
        getattr(models, f"{kind}ImageClassifier"),
        getattr(models, f"{kind}ImageClassifierPreprocessor"),
    )
    converter = preprocessor.image_converter_cls(
        image_size=usual[0],
        scale=[1 / (255 * one) for one in deviation],
        offset=[-one / other for one, other in zip(mean, deviation, strict=True)],
        interpolation="bicubic",
    )
    features = {"large_100": 1280, "small_100": 1024}.get(name[13:])
    extra = {"num_features": features} if features else {}
    backbone = getattr(models, f"{kind}Backbone")(**config)
    classifier = task(backbone=backbone, num_classes=CLASSES, preprocessor=preprocessor(converter), **extra)
    with tempfile.TemporaryDirectory() as folder:
        seed_weights(classifier, Path(folder), gain)
        configs = {file: json.loads((Path(folder) / file).read_text()) for file in CONFIGS}
        layouts = {file: read_layout(Path(folder) / file) for file in WEIGHTS}
    converter.image_size = None
    outputs = [
        {
            "size": size,
            "logits": keras.ops.convert_to_numpy(classifier(converter(pixels(*size)), training=False)).tolist(),
        }
        for size in sizes or usual
    ]
    return {
        "versions": {"keras": keras.__version__, "keras_hub": keras_hub.__version__},
        "gain": gain,
        "configs": configs,
        "weights": layouts,
        "outputs": outputs,
    }


def seed_weights(classifier, folder, gain):
    """Save a classifier as a preset, seed the weights in its files, and load them into it."""
    classifier.save_to_preset(folder)
    for file in WEIGHTS:
        layout = read_layout(folder / file)
        with h5py.File(folder / file, "r+") as opened:
            for path, name, shapes in layout:
                for number, array in enumerate(seeded_variables(name, shapes, gain)):
                    opened[f"{path}/vars/{number}"][...] = array
    classifier.backbone.load_weights(folder / WEIGHTS[0])
    classifier.load_task_weights(folder / WEIGHTS[1])


def read_layout(file):
    """Return the path, the layer's name and the shapes of each group of variables."""
    rows = []
    with h5py.File(file) as opened:

        def visit(path, group):
            if path.endswith("/vars") and len(group) and not path.startswith("optimizer"):
                shapes = [group[str(number)].shape for number in range(len(group))]
                rows.append((path.removesuffix("/vars"), group.attrs["name"], shapes))

        opened.visititems(visit)
    return rows


def main():
    if sys.argv[1:2] == ["one"]:
        _, _, file, name, *sizes = sys.argv
        record = record_preset(name, *(tuple(map(int, size.split("x"))) for size in sizes))
        Path(file).write_text(json.dumps(record))
        return
    for name in sys.argv[1:] or NETWORKS:
        text = json.dumps(record_preset(name), separators=(",", ":")).encode()
        FOLDER.mkdir(exist_ok=True)
        with gzip.GzipFile(FOLDER / f"{name}.json.gz", "wb", mtime=0) as opened:
            opened.write(text)
        print(f"{name}: {len(text):,} bytes before compression", flush=True)


if __name__ == "__main__":
    main()
