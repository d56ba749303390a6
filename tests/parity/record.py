"""Record the outputs of torchvision's and timm's networks for seeded weights: python -m tests.parity.record

Needs torch, torchvision and timm. Writes torch.json.gz beside itself: for each network the names and shapes of its
state dict, and the logits for seeded images. kcnn takes no part.
"""

import gzip
import json
from pathlib import Path

import timm
import torch
import torchvision

from tests.parity.seeded import CLASSES, pixels, seeded_tensor

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
AUXILIARY = {  # auxiliary classifiers, and the blocks that they take
    "googlenet": {"aux1": "inception4a", "aux2": "inception4d"},
    "inception_v3": {"AuxLogits": "Mixed_6e"},
}
NETWORKS = (  # library, its name for the network, kcnn's, pixels a side
    ("torchvision", "alexnet", "alexnet.torchvision", 200),
    *(("torchvision", f"vgg{n}{bn}", f"vgg{n}{bn}.torchvision", 80) for n in (11, 13, 16, 19) for bn in ("", "_bn")),
    ("torchvision", "googlenet", "googlenet.torchvision", 97),
    ("torchvision", "inception_v3", "inception_v3.torchvision", 299),
    *(("torchvision", f"resnet{n}", f"resnet{n}.torchvision", 97) for n in (18, 34, 50, 101, 152)),
    ("torchvision", "resnext50_32x4d", "resnext50_32x4d.torchvision", 97),
    ("torchvision", "resnext101_32x8d", "resnext101_32x8d.torchvision", 97),
    ("torchvision", "wide_resnet50_2", "wide_resnet50_2.torchvision", 97),
    ("torchvision", "wide_resnet101_2", "wide_resnet101_2.torchvision", 97),
    ("torchvision", "mobilenet_v2", "mobilenet_v2.torchvision", 97),
    ("torchvision", "mobilenet_v3_small", "mobilenet_v3_small.torchvision", 97),
    ("torchvision", "mobilenet_v3_large", "mobilenet_v3_large.torchvision", 97),
    *(("timm", f"resnetv2_{n}", f"resnet{n}_v2.timm", 97) for n in (50, 101, 152)),
    ("timm", "inception_v4", "inception_v4", 107),
    ("timm", "inception_resnet_v2", "inception_resnet_v2", 107),
)


def create_model(library, name):
    if library == "timm":
        return timm.create_model(name, num_classes=CLASSES)
    extra = {"init_weights": False, "aux_logits": True, "transform_input": True} if name in AUXILIARY else {}
    return torchvision.models.get_model(name, num_classes=CLASSES, **extra)


def record_network(library, name, side):
    model = create_model(library, name).eval()
    state = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if tensor.dtype == torch.float32}
    model.load_state_dict(
        {key: torch.from_numpy(seeded_tensor(key, shape)) for key, shape in state.items()}, strict=False
    )
    maps = {}
    for head, block in AUXILIARY.get(name, {}).items():
        module = model.get_submodule(block)
        module.register_forward_hook(lambda _, __, output, head=head: maps.__setitem__(head, output))
    x = torch.from_numpy(pixels(side))
    x = (x / 255 - MEAN) / DEVIATION if library == "torchvision" else x / 127.5 - 1
    with torch.no_grad():
        logits = model(x.permute(0, 3, 1, 2))
        sides = [model.get_submodule(head)(map_) for head, map_ in maps.items()]
    return {"state": state, "side": side, "logits": logits.tolist(), "sides": [one.tolist() for one in sides]}


def main():
    record = {
        "versions": {m.__name__: m.__version__ for m in (torch, torchvision, timm)},
        "networks": {ours: record_network(library, name, side) for library, name, ours, side in NETWORKS},
    }
    text = json.dumps(record, separators=(",", ":")).encode()
    with gzip.GzipFile(Path(__file__).with_name("torch.json.gz"), "wb", mtime=0) as file:
        file.write(text)
    print(f"{len(NETWORKS)} networks, {len(text):,} bytes before compression")


if __name__ == "__main__":
    main()
