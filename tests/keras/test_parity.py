"""The same weights give the same logits in networks of kcnn and of keras.applications."""

import keras
import numpy as np
import pytest

import kcnn

V2 = ("b0", "b1", "b3", "s", "m")
CASES = [  # kcnn's network, its options, the module and class of keras.applications, its arguments, pixels a side
    ("vgg16.keras", {}, "vgg16.VGG16", {}, 70),
    ("vgg19.keras", {}, "vgg19.VGG19", {}, 70),
    ("resnet50.keras", {}, "resnet.ResNet50", {}, 97),
    ("resnet101.keras", {}, "resnet.ResNet101", {}, 97),
    ("resnet152.keras", {}, "resnet.ResNet152", {}, 97),
    ("resnet50_v2.keras", {}, "resnet_v2.ResNet50V2", {}, 97),
    ("resnet101_v2.keras", {}, "resnet_v2.ResNet101V2", {}, 97),
    ("resnet152_v2.keras", {}, "resnet_v2.ResNet152V2", {}, 97),
    ("inception_v3.keras", {}, "inception_v3.InceptionV3", {}, 107),
    ("inception_resnet_v2.keras", {}, "inception_resnet_v2.InceptionResNetV2", {}, 107),
    ("xception", {}, "xception.Xception", {}, 107),
    ("nasnet_mobile.keras", {}, "nasnet.NASNetMobile", {}, 107),
    ("nasnet_large.keras", {}, "nasnet.NASNetLarge", {}, 64),
    ("densenet121.keras", {}, "densenet.DenseNet121", {}, 97),
    ("densenet169.keras", {}, "densenet.DenseNet169", {}, 97),
    ("densenet201.keras", {}, "densenet.DenseNet201", {}, 97),
    ("mobilenet_v1.keras", {}, "mobilenet.MobileNet", {}, 97),
    ("mobilenet_v1.keras", {"width": 0.25}, "mobilenet.MobileNet", {"alpha": 0.25}, 96),
    ("mobilenet_v2", {}, "mobilenet_v2.MobileNetV2", {}, 97),
    ("mobilenet_v2", {"width": 0.35}, "mobilenet_v2.MobileNetV2", {"alpha": 0.35}, 96),
    ("mobilenet_v2", {"width": 1.4}, "mobilenet_v2.MobileNetV2", {"alpha": 1.4}, 96),
    ("mobilenet_v3_large", {}, "MobileNetV3Large", {}, 97),
    ("mobilenet_v3_large", {"width": 0.75}, "MobileNetV3Large", {"alpha": 0.75}, 96),
    ("mobilenet_v3_small", {}, "MobileNetV3Small", {}, 97),
    ("mobilenet_v3_small", {"width": 0.75}, "MobileNetV3Small", {"alpha": 0.75}, 96),
    ("mobilenet_v3_large.minimalistic", {}, "MobileNetV3Large", {"minimalistic": True}, 97),
    ("mobilenet_v3_small.minimalistic", {}, "MobileNetV3Small", {"minimalistic": True}, 97),
    *((f"efficientnet_b{n}", {}, f"efficientnet.EfficientNetB{n}", {}, 97) for n in (0, 1, 3, 6)),
    *((f"efficientnet_v2_{size}", {}, f"efficientnet_v2.EfficientNetV2{size.upper()}", {}, 97) for size in V2),
    *((f"convnext_{size}", {}, f"convnext.ConvNeXt{size.title()}", {}, 97) for size in ("tiny", "small", "base")),
    ("convnext_large", {}, "convnext.ConvNeXtLarge", {}, 64),
    ("convnext_xlarge", {}, "convnext.ConvNeXtXLarge", {}, 64),
]
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet
ONE_EACH = (
    "vgg16.keras",
    "resnet50.keras",
    "resnet50_v2.keras",
    "inception_v3.keras",
    "efficientnet_b0",
    "mobilenet_v3_small",
)
MARKED = [
    pytest.param(
        *case,
        id=case[0] + "".join(map(str, case[1].values())),
        marks=() if case[0] in ONE_EACH and not case[1] else pytest.mark.every,
    )
    for case in CASES
]


def randomize(model, seed=0):
    """Random weights, and random statistics of batch normalisation, under which signals neither vanish nor explode."""
    rng = np.random.default_rng(seed)
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    scaling = {id(variable) for layer in normalizations for variable in layer.weights}
    for variable in model.weights:
        if id(variable) in scaling:
            continue
        shape = tuple(variable.shape)
        if variable.name == "kernel":
            fan_in = np.prod(shape[:-1]) if variable.path.find("depthwise") < 0 else np.prod(shape[:2])
            value = rng.normal(0, np.sqrt(2 / fan_in), shape)
        elif variable.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.6, 1.4, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        variable.assign(value.astype("float32"))
    for layer in normalizations:
        if layer.weights:  # otherwise they are constants
            layer.adapt_mean.assign(MEAN)
            layer.adapt_variance.assign(DEVIATION**2)
            layer.finalize_state()


def build_theirs(path, side, **arguments):
    """The model of keras.applications with logits as outputs, and what prepares pixels for it."""
    module, _, factory = path.rpartition(".")
    home = getattr(keras.applications, module) if module else keras.applications
    model = getattr(home, factory)(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None, **arguments
    )
    return model, getattr(home, "preprocess_input", lambda x: x)


def pixels(side, count=2):
    return np.random.default_rng(1).uniform(0, 255, (count, side, side, 3)).astype("float32")


def relative_difference(a, b):
    """The largest difference, relative to the largest value."""
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize(("name", "options", "path", "arguments", "side"), MARKED)
def test_load_weights_of_keras_applications_gives_the_same_logits(name, options, path, arguments, side, tmp_path):
    theirs, prepare = build_theirs(path, side, **arguments)
    randomize(theirs)
    file = tmp_path / "theirs.weights.h5"
    theirs.save_weights(file)
    ours = kcnn.build(name, classes=10, input_shape=(side, side, 3), weights=file, **options)
    scaling = [layer for layer in theirs.layers if isinstance(layer, keras.layers.Normalization)]
    assert ours.count_params() == theirs.count_params() - sum(layer.count_params() for layer in scaling)
    assert kcnn.summary(kcnn.from_keras(ours)).macs == kcnn.summary(kcnn.from_keras(theirs)).macs
    x = pixels(side)
    assert relative_difference(ours.predict(x, verbose=0), theirs.predict(prepare(x.copy()), verbose=0)) <= 1e-4


@pytest.mark.parametrize("ending", ["h5", pytest.param("keras", marks=pytest.mark.every)])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_reads_models_of_keras_wherever_their_layer_numbers_start(ending, tmp_path):
    keras.layers.Conv2D(1, 1)  # the first numbered layer of the model below is not the first of this process
    theirs, prepare = build_theirs("inception_v3.InceptionV3", 75)
    randomize(theirs)
    file = tmp_path / f"theirs.{ending}"
    theirs.save(file)
    ours = kcnn.build("inception_v3.keras", classes=10, input_shape=(75, 75, 3))
    report = kcnn.load_weights(ours, file)
    assert len(report.matched) == len(ours.weights)
    assert report.mapping == "keras"
    x = pixels(75)
    assert relative_difference(ours.predict(x, verbose=0), theirs.predict(prepare(x.copy()), verbose=0)) <= 1e-4
