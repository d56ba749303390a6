"""Record the outputs of torchvision's and timm's networks for seeded weights: python -m tests.parity.record FAMILY ...

Needs torch, torchvision and timm. Writes FAMILY.json.gz beside itself, by default for all families: for each network
the names and shapes of its state dict, and the logits for seeded images of its nominal size and of an odd one that is
not square. "files" writes small files of torch.save. "layouts" hashes the names and shapes of the tensors of each
network in timm_layouts.json. "one FILE LIBRARY NAME ROWSxCOLUMNS ..." writes the record of a single network elsewhere.
"rounding LIBRARY NAME ROWSxCOLUMNS" prints how far its logits in float32 are from those in float64. kcnn takes no part.
"""

import gzip
import json
import sys
from collections import OrderedDict
from pathlib import Path

import timm
import torch
import torchvision

from tests.parity.seeded import CLASSES, hash_layout, pixels, seeded_tensor

AUXILIARY = {  # auxiliary classifiers, and the blocks that they take
    "googlenet": {"aux1": "inception4a", "aux2": "inception4d"},
    "inception_v3": {"AuxLogits": "Mixed_6e"},
}
# Of seeded kernels, by a part of the name: with 1, gates amplify rounding in deep networks.
GAIN = {
    **dict.fromkeys(("efficientnet_v2_m", "efficientnet_v2_l"), 0.7),
    **dict.fromkeys(("efficientnetv2_m", "efficientnetv2_l", "efficientnetv2_xl"), 0.7),
    "efficientnet_b7": 0.8,
    **dict.fromkeys(("seresnet101", "seresnet152", "seresnext101"), 0.7),
    **dict.fromkeys(("mobilenet_v3_large", "mobilenetv3_large_100"), 0.9),
    **{"efficientnet_v2": 0.8, "efficientnetv2": 0.8, "efficientnet_b": 0.9, "regnet": 0.8},
}
ROUNDING = 1e-4  # of a record at most: the difference that parity allows
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d")
# Library, its name for the network, kcnn's (@library where another library has the same; timm/NAME for the network and
# options that kcnn finds by the name), nominal size and another one
FAMILIES = {
    "alexnet": (("torchvision", "alexnet", "alexnet.torchvision", (224, 224), (200, 223)),),
    "vgg": tuple(
        ("torchvision", f"vgg{n}{bn}", f"vgg{n}{bn}.torchvision", (224, 224), (80, 97))
        for n in (11, 13, 16, 19)
        for bn in ("", "_bn")
    ),
    "googlenet": (("torchvision", "googlenet", "googlenet.torchvision", (224, 224), (97, 131)),),
    "inception": (("torchvision", "inception_v3", "inception_v3.torchvision", (299, 299), (331, 299)),),
    "resnet": tuple(
        ("torchvision", name, f"{name}.torchvision", (224, 224), (97, 131))
        for name in (*RESNETS, "wide_resnet50_2", "wide_resnet101_2")
    ),
    "squeezenet": tuple(
        ("torchvision", f"squeezenet1_{n}", f"squeezenet1_{n}.torchvision", (224, 224), (97, 131)) for n in (0, 1)
    ),
    "xception": (("timm", "legacy_xception", "xception.timm", (299, 299), (107, 139)),),
    "convmixer": tuple(
        ("timm", f"convmixer_{n}", f"convmixer_{n}", (224, 224), (63, 84)) for n in ("768_32", "1536_20")
    ),
    "nasnet": (("timm", "nasnetalarge", "nasnet_large.timm", (331, 331), (107, 139)),),
    "densenet": tuple(
        ("torchvision", f"densenet{n}", f"densenet{n}", (224, 224), (97, 131)) for n in (121, 161, 169, 201)
    ),
    "mobilenet": (("torchvision", "mobilenet_v2", "mobilenet_v2.torchvision", (224, 224), (97, 131)),),
    "mobilenet_v3": tuple(
        ("torchvision", name, f"{name}.torchvision", (224, 224), (97, 131))
        for name in ("mobilenet_v3_small", "mobilenet_v3_large")
    ),
    "resnet_v2": tuple(("timm", f"resnetv2_{n}", f"resnet{n}_v2.timm", (224, 224), (97, 131)) for n in (50, 101, 152)),
    "efficientnet": (
        ("torchvision", "efficientnet_b0", "efficientnet_b0.torchvision", (224, 224), (97, 131)),
        ("torchvision", "efficientnet_v2_s", "efficientnet_v2_s.torchvision", (97, 131)),
        ("timm", "tf_efficientnet_b0", "efficientnet_b0", (224, 224), (97, 131)),
        ("timm", "tf_efficientnet_b2", "efficientnet_b2", (97, 131)),
        ("timm", "efficientnet_b0", "efficientnet_b0.torchvision@timm", (97, 131)),
        ("timm", "efficientnet_lite0", "efficientnet_lite0.timm", (97, 131)),
        ("timm", "tf_efficientnetv2_b0", "efficientnet_v2_b0", (97, 131)),
    ),
    "mnasnet": (
        ("torchvision", "mnasnet0_5", "mnasnet0_5.torchvision", (224, 224), (97, 131)),
        ("torchvision", "mnasnet1_3", "mnasnet1_3.torchvision", (97, 131)),
        ("timm", "mnasnet_100", "mnasnet1_0.torchvision", (97, 131)),
    ),
    "mobilenet_v4": (
        ("timm", "mobilenetv4_conv_small", "mobilenet_v4_conv_small.timm", (224, 224), (97, 131)),
        ("timm", "mobilenetv4_conv_medium", "mobilenet_v4_conv_medium.timm", (97, 131)),
        ("timm", "mobilenetv4_conv_large", "mobilenet_v4_conv_large.timm", (97, 131)),
    ),
    "lcnet": (
        ("timm", "lcnet_050", "lcnet_0_5", (224, 224), (97, 131)),
        ("timm", "lcnet_100", "lcnet_1_0", (97, 131)),
    ),
    "resnext": (
        ("timm", "resnext101_32x4d", "resnext101_32x4d.timm", (224, 224), (97, 131)),
        ("torchvision", "resnext101_64x4d", "resnext101_64x4d.torchvision", (224, 224), (97, 131)),
    ),
    "seresnet": tuple(
        ("timm", theirs, ours, (224, 224), (97, 131))
        for theirs, ours in (
            ("legacy_seresnet50", "seresnet50"),
            ("legacy_seresnext50_32x4d", "seresnext50_32x4d"),
            ("seresnet50", "seresnet50.timm"),
            ("seresnext50_32x4d", "seresnext50_32x4d.timm"),
        )
    ),
    "resnet_d": tuple(("timm", f"resnet{n}d", f"resnet{n}d", (224, 224), (97, 131)) for n in (18, 50, 101)),
    "repvgg": tuple(("timm", f"repvgg_{n}", f"repvgg_{n}", (224, 224), (97, 131)) for n in ("a0", "a2", "b1g4")),
    "mobileone": tuple(("timm", f"mobileone_s{n}", f"mobileone_s{n}", (224, 224), (97, 131)) for n in range(2)),
    "regnet": (
        *(
            ("torchvision", f"regnet_{name}", f"regnet_{name}{variant}", (224, 224), (97, 131))
            for name, variant in (
                ("x_400mf", ".torchvision"),
                ("x_8gf", ""),
                ("y_400mf", ""),
                ("y_800mf", ".torchvision"),
            )
        ),
        ("timm", "regnetx_004", "regnet_x_400mf", (224, 224), (97, 131)),
        ("timm", "regnety_004", "regnet_y_400mf@timm", (224, 224), (97, 131)),
        ("timm", "regnety_008_tv", "regnet_y_800mf.torchvision@timm", (224, 224), (97, 131)),
    ),
    "shufflenet_v2": tuple(
        ("torchvision", f"shufflenet_v2_{size}", f"shufflenet_v2_{size}", (224, 224), (97, 131))
        for size in ("x0_5", "x1_0", "x1_5", "x2_0")
    ),
    "ghostnet": tuple(
        ("timm", f"ghostnet_{theirs}", f"ghostnet_{ours}", (224, 224), (101, 131))  # 97 rows: gates cancel in width 1.3
        for theirs, ours in (("050", "0_5"), ("100", "1_0"), ("130", "1_3"))
    ),
    "res2net": tuple(("timm", f"res2net{n}_26w_4s", f"res2net{n}_26w_4s", (224, 224), (97, 131)) for n in (50, 101)),
    "dpn": tuple(("timm", f"dpn{n}", f"dpn{n}", (224, 224), (97, 131)) for n in (68, 92, 107)),
    "convnext": (
        *(
            ("timm", f"convnext{version}_{size}", f"convnext{name}_{size}", (224, 224), (97, 131))
            for version, name, size in (
                ("", "", "atto"),
                ("", "", "nano"),
                ("v2", "_v2", "atto"),
                ("v2", "_v2", "tiny"),
            )
        ),
        ("timm", "convnext_tiny", "convnext_tiny@timm", (224, 224), (97, 131)),
        ("torchvision", "convnext_tiny", "convnext_tiny", (224, 224), (97, 131)),
        ("torchvision", "convnext_base", "convnext_base", (224, 224), (97, 131)),
    ),
    "bit": tuple(
        ("timm", f"resnetv2_{name}_bit", f"resnet{name}_bit", (224, 224), (97, 131))
        for name in ("50x1", "101x1", "50x3")
    ),
    "darknet": (("timm", "darknet53", "darknet53.timm", (256, 256), (97, 131)),),
    "dla": tuple(("timm", name, name, (224, 224), (96, 128)) for name in ("dla34", "dla60", "dla102")),  # by 32 pixels
    "vovnet": tuple(("timm", name, name, (224, 224), (97, 131)) for name in ("ese_vovnet19b_dw", "ese_vovnet39b")),
    "inception_v4": (("timm", "inception_v4", "inception_v4", (299, 299), (107, 139)),),
    "inception_resnet": (("timm", "inception_resnet_v2", "inception_resnet_v2", (299, 299), (107, 139)),),
    "timm": tuple(  # networks that kcnn finds by timm's name, many with options
        ("timm", name, f"timm/{name}", *sizes)
        for name, *sizes in (
            ("vgg11", (80, 97)),
            ("inception_v3", (107, 139)),
            ("mobilenetv1_100", (224, 224), (97, 131)),
            ("mobilenetv2_050", (97, 131)),
            ("mobilenetv3_small_100", (224, 224), (97, 131)),
            ("mobilenetv3_small_050", (97, 131)),
            ("mobilenetv3_large_100", (97, 131)),
            ("tf_mobilenetv3_small_075", (97, 131)),
            ("tf_mobilenetv3_large_minimal_100", (97, 131)),
            ("resnet26", (97, 131)),
            ("resnext50d_32x4d", (97, 131)),
            ("seresnext26d_32x4d", (97, 131)),
            ("res2net50_14w_8s", (97, 131)),
            ("convmixer_1024_20_ks9_p14", (97, 131)),
        )
    ),
}


def create_model(library, name):
    """Return a network and the mean and standard deviation of the pixels 0..1 that it takes."""
    if library == "timm":
        model = timm.create_model(name, num_classes=CLASSES)
        return model, model.default_cfg["mean"], model.default_cfg["std"]
    extra = {"init_weights": False, "aux_logits": True, "transform_input": True} if name in AUXILIARY else {}
    model = torchvision.models.get_model(name, num_classes=CLASSES, **extra)
    return model, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def seed_model(library, name):
    """Return a network with seeded weights, their shapes and gain, and what scales pixels."""
    model, mean, deviation = create_model(library, name)
    model.eval()
    state = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if tensor.dtype == torch.float32}
    gain, loaded = next((gain for part, gain in GAIN.items() if part in name), 1.0), model.state_dict()
    for key, shape in state.items():
        loaded[key] = torch.from_numpy(seeded_tensor(key, shape, gain))
    model.load_state_dict(loaded)
    return model, state, gain, mean, deviation


def make_images(size, mean, deviation):
    x = (torch.from_numpy(pixels(*size)) / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    return x.permute(0, 3, 1, 2)


def measure_rounding(library, name, size):
    """Return the largest difference of logits in float32 from those in float64, relative to the largest logit."""
    model, _, _, mean, deviation = seed_model(library, name)
    x = make_images(size, mean, deviation)
    with torch.no_grad():
        single, double = model(x), model.double()(x.double())
    return float((single - double).abs().max() / double.abs().max())


def record_network(library, name, *sizes):
    model, state, gain, mean, deviation = seed_model(library, name)
    maps = {}
    for head, block in (AUXILIARY.get(name, {}) if library == "torchvision" else {}).items():
        module = model.get_submodule(block)
        module.register_forward_hook(lambda _, __, output, head=head: maps.__setitem__(head, output))
    outputs = []
    for size in sizes:
        rounding = measure_rounding(library, name, size)
        if rounding > ROUNDING:
            rows, columns = size
            raise SystemExit(
                f"{name} at {rows}x{columns}: float32 is {rounding:.1e} from float64, and a record takes "
                f"{ROUNDING:.0e} at most; give its kernels a gain of less than {gain} in GAIN"
            )
        with torch.no_grad():
            logits = model(make_images(size, mean, deviation))
            aux = [model.get_submodule(head)(map_) for head, map_ in maps.items()]
        outputs.append({"size": size, "logits": logits.tolist(), "aux": [one.tolist() for one in aux]})
    pixel = {"mean": mean, "std": deviation}
    return {"library": library, "model": name, **pixel, "gain": gain, "state": state, "outputs": outputs}


def write_files():
    """Write a checkpoint as PyTorch does since 1.6 and as it did before, with tensors that are views of others."""
    state = OrderedDict(
        {
            "conv.weight": torch.nn.Parameter(torch.arange(24.0).reshape(2, 3, 2, 2)),
            "transposed": torch.arange(6.0).reshape(2, 3).t(),
            "slice": torch.arange(10.0)[2:7],
            "half": torch.tensor([0.5, 1.5, -2.0]).half(),
            "bfloat16": torch.tensor([0.5, 1.5, -2.0]).bfloat16(),
            "double": torch.tensor([[0.1]]).double(),
            "count": torch.tensor(7),
            "empty": torch.zeros(0, 3),
        }
    )
    state._metadata = {"": {"version": 1}}
    checkpoint = {"state_dict": state, "optimizer": {"momentum": torch.ones(5)}, "epoch": 3, "rate": 0.1}
    here = Path(__file__).parent
    torch.save(checkpoint, here / "archive.pth")
    torch.save(checkpoint, here / "stream.pth", _use_new_zipfile_serialization=False)


def write_layouts():
    file, layouts = Path(__file__).with_name("timm_layouts.json"), {}
    for name in json.loads(file.read_text()):
        with torch.device("meta"):
            tensors = timm.create_model(name).state_dict()
        layouts[name] = hash_layout({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    file.write_text(json.dumps(layouts, indent=1, sort_keys=True) + "\n")


def main():
    if sys.argv[1:] in (["files"], ["layouts"]):
        (write_files if sys.argv[1] == "files" else write_layouts)()
        return
    if sys.argv[1:2] == ["rounding"]:
        _, _, library, name, size = sys.argv
        print(f"{measure_rounding(library, name, tuple(map(int, size.split('x')))):.1e}")
        return
    if sys.argv[1:2] == ["one"]:
        _, _, file, library, name, *sizes = sys.argv
        record = record_network(library, name, *(tuple(map(int, size.split("x"))) for size in sizes))
        Path(file).write_text(json.dumps(record))
        return
    for family in sys.argv[1:] or FAMILIES:
        record = {
            "versions": {m.__name__: m.__version__ for m in (torch, torchvision, timm)},
            "networks": {
                ours: record_network(library, name, *sizes) for library, name, ours, *sizes in FAMILIES[family]
            },
        }
        text = json.dumps(record, separators=(",", ":")).encode()
        with gzip.GzipFile(Path(__file__).with_name(f"{family}.json.gz"), "wb", mtime=0) as file:
            file.write(text)
        print(f"{family}: {len(record['networks'])} networks, {len(text):,} bytes before compression")


if __name__ == "__main__":
    main()
