"""Compare the logits of kcnn's networks with those of the publishers of weights, for the same weights."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import save_file

import kcnn
from kcnn.testing.checks import compute_logits
from kcnn.weights.hub import list_published_models
from tests.parity.presets import write_preset
from tests.parity.seeded import CLASSES, pixels, seeded_tensor

NETWORKS = {
    name: record
    for file in sorted(Path(__file__).parent.glob("*.json.gz"))
    for name, record in json.loads(gzip.decompress(file.read_bytes()))["networks"].items()
}
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet


@dataclass(frozen=True)
class Application:
    """A network of keras.applications and kcnn's, at an odd size that is not square.

    Attributes:
        network: Its name in kcnn.
        theirs: Module and class of keras.applications.
        size: (rows, columns).
        options: Options of kcnn's.
        arguments: Arguments of theirs.
        gain: Of random kernels: with 1, gates amplify rounding in deep networks.
    """

    network: str
    theirs: str
    size: tuple[int, int] = (97, 131)
    options: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    gain: float = 1.0

    @property
    def title(self) -> str:
        return self.network + "".join(map(str, self.options.values()))


MINIMALISTIC = {"minimalistic": True}
APPLICATIONS = (
    Application("vgg16.keras", "vgg16.VGG16", (70, 91)),
    Application("vgg19.keras", "vgg19.VGG19", (70, 91)),
    *(Application(f"resnet{n}.keras", f"resnet.ResNet{n}") for n in (50, 101, 152)),
    *(Application(f"resnet{n}_v2.keras", f"resnet_v2.ResNet{n}V2") for n in (50, 101, 152)),
    Application("inception_v3.keras", "inception_v3.InceptionV3", (107, 139)),
    Application("inception_resnet_v2.keras", "inception_resnet_v2.InceptionResNetV2", (107, 139)),
    Application("xception", "xception.Xception", (107, 139)),
    Application("nasnet_mobile.keras", "nasnet.NASNetMobile", (107, 139)),
    Application("nasnet_large.keras", "nasnet.NASNetLarge", (65, 97)),
    *(Application(f"densenet{n}.keras", f"densenet.DenseNet{n}") for n in (121, 169, 201)),
    Application("mobilenet_v1", "mobilenet.MobileNet", (96, 128)),  # at odd sizes Keras pads otherwise than the paper
    Application("mobilenet_v1.keras", "mobilenet.MobileNet"),
    Application("mobilenet_v1.keras", "mobilenet.MobileNet", (96, 128), {"width": 0.25}, {"alpha": 0.25}),
    Application("mobilenet_v2", "mobilenet_v2.MobileNetV2"),
    Application("mobilenet_v2", "mobilenet_v2.MobileNetV2", (96, 128), {"width": 0.35}, {"alpha": 0.35}),
    Application("mobilenet_v2", "mobilenet_v2.MobileNetV2", (96, 128), {"width": 1.4}, {"alpha": 1.4}),
    Application("mobilenet_v3_large", "MobileNetV3Large"),
    Application("mobilenet_v3_large", "MobileNetV3Large", (96, 128), {"width": 0.75}, {"alpha": 0.75}),
    Application("mobilenet_v3_small", "MobileNetV3Small"),
    Application("mobilenet_v3_small", "MobileNetV3Small", (96, 128), {"width": 0.75}, {"alpha": 0.75}),
    Application("mobilenet_v3_large.minimalistic", "MobileNetV3Large", arguments=MINIMALISTIC),
    Application("mobilenet_v3_small.minimalistic", "MobileNetV3Small", arguments=MINIMALISTIC),
    *(Application(f"efficientnet_b{n}", f"efficientnet.EfficientNetB{n}", gain=0.9 if n else 1.0) for n in range(8)),
    *(
        Application(f"efficientnet_v2_{size}", f"efficientnet_v2.EfficientNetV2{size.upper()}", gain=gain)
        for size, gain in (("b0", 0.8), ("b1", 0.8), ("b2", 0.8), ("b3", 0.8), ("s", 0.8), ("m", 0.7), ("l", 0.7))
    ),
    *(Application(f"convnext_{size}", f"convnext.ConvNeXt{size.title()}") for size in ("tiny", "small", "base")),
    Application("convnext_large", "convnext.ConvNeXtLarge", (64, 97)),
    Application("convnext_xlarge", "convnext.ConvNeXtXLarge", (64, 97)),
)


def relative_difference(a: Any, b: Any) -> float:
    """Return the largest difference, relative to the largest value of the second."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(b).max())


def find_network(name: str) -> tuple[str, Mapping[str, Any]]:
    """Return kcnn's network and its options by the name of a record: NETWORK, NETWORK@LIBRARY, or timm/MODEL."""
    if name.startswith("timm/"):
        return list_published_models("timm")[name.removeprefix("timm/")]
    return name.partition("@")[0], {}


def tell_images_apart(logits: Any) -> bool:
    """Return whether the logits of two images differ by more than five times what parity allows them to differ."""
    return relative_difference(*np.asarray(logits)[:2]) > 5e-4


def build_state(name: str) -> dict[str, np.ndarray]:
    """Return the state dict of a recorded network."""
    return compute_state(NETWORKS[name])


def compute_state(record: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the state dict of a record."""
    gain = record.get("gain", 1.0)
    return {key: seeded_tensor(key, tuple(shape), gain) for key, shape in record["state"].items()}


def find_scaling(network: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides by which a network scales pixels as the publisher of a record does, if any are needed."""
    if "mean" not in record:
        return {}
    pairs = list(zip(record["mean"], record["std"], strict=True))
    scale, offset = tuple(1 / (255 * one) for _, one in pairs), tuple(-mean / one for mean, one in pairs)
    own = kcnn.get_architecture(network).rescale.per_channel(3)
    is_same = np.allclose(own.scale, scale, rtol=1e-6) and np.allclose(own.offset, offset, rtol=1e-6)
    return {} if is_same else {"rescale.scale": scale, "rescale.offset": offset}


def compare_preset(record: dict[str, Any], output: dict[str, Any], folder: Path) -> float:
    """Compare the logits with recorded ones of a preset of KerasHub; return the largest relative difference."""
    assert tell_images_apart(output["logits"])
    model = kcnn.build(write_preset(record, folder / "preset"), input_shape=(*output["size"], 3))
    return relative_difference(compute_logits(model, pixels(*output["size"])), output["logits"])


def compare_record(
    network: str, record: dict[str, Any], output: dict[str, Any], folder: Path, options: Any = None
) -> tuple[float, str]:
    """Compare the logits, and those of auxiliary classifiers, with recorded ones.

    Args:
        network: Its name in kcnn.
        record: The record of the network.
        output: One of its outputs.
        folder: Where a file of weights is written.
        options: Options of kcnn's network.

    Returns:
        The largest relative difference, and whose names kcnn recognized in the file.
    """
    assert tell_images_apart(output["logits"])
    file = folder / "theirs.safetensors"
    save_file(compute_state(record), file)
    shape = (*output["size"], 3)
    overrides = find_scaling(network, record)
    model = kcnn.build(
        network, classes=CLASSES, input_shape=shape, aux=bool(output["aux"]), overrides=overrides, **(options or {})
    )
    report = kcnn.load_weights(model, file)
    assert len(report.matched) == len(model.weights)
    images = pixels(*output["size"])
    differences = [relative_difference(compute_logits(model, images), output["logits"])]
    for aux, logits in enumerate(output["aux"], 1):
        head = keras.Model(model.inputs, model.get_layer(f"aux{aux}_logits").output)
        differences.append(relative_difference(compute_logits(head, images), logits))
    return max(differences), report.mapping


def randomize(model: Any, seed: int = 0, gain: float = 1.0) -> None:
    """Set random weights and statistics of batch normalization, under which signals neither vanish nor explode."""
    rng = np.random.default_rng(seed)
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    scaling = {id(variable) for layer in normalizations for variable in layer.weights}
    for variable in model.weights:
        if id(variable) in scaling:
            continue
        shape = tuple(variable.shape)
        if variable.name == "kernel":
            inputs = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])  # a depthwise kernel has one for each channel
            value = rng.normal(0, gain * np.sqrt(2 / inputs), shape)
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


def build_application(theirs: str, size: tuple[int, int], **arguments: Any) -> tuple[Any, Any]:
    """Return a model of keras.applications with logits as outputs, and what prepares pixels for it."""
    module, _, factory = theirs.rpartition(".")
    home = getattr(keras.applications, module) if module else keras.applications
    model = getattr(home, factory)(
        weights=None, input_shape=(*size, 3), classes=CLASSES, classifier_activation=None, **arguments
    )
    return model, getattr(home, "preprocess_input", lambda x: x)


def build_both(case: Application, size: tuple[int, int], folder: Path) -> tuple[Any, Any, Any]:
    """Return kcnn's model and that of keras.applications with the same random weights, and what prepares pixels."""
    theirs, prepare = build_application(case.theirs, size, **case.arguments)
    randomize(theirs, gain=case.gain)
    file = folder / "theirs.weights.h5"
    theirs.save_weights(file)
    ours = kcnn.build(case.network, classes=CLASSES, input_shape=(*size, 3), weights=file, **case.options)
    return ours, theirs, prepare


def compare_logits(ours: Any, theirs: Any, prepare: Any, size: tuple[int, int]) -> float:
    """Return the largest relative difference of the logits of two models for the same images."""
    images = pixels(*size)
    expected = compute_logits(theirs, prepare(images.copy()))
    assert tell_images_apart(expected)
    return relative_difference(compute_logits(ours, images), expected)
