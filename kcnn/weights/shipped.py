"""Demo weights that come with kcnn: small networks that learned on digits, to try transfer without a network.

    kcnn train convnet --set act=relu --data digits:0-4 --input 32x32x1 --epochs 30 --learning-rate 2e-3 \\
        --adjust shift=0.1 --adjust rotate=15 --adjust zoom=0.1 --out runs/digits
    python -m kcnn.weights.shipped runs/digits
"""

import json
import sys
from pathlib import Path
from typing import Any

from kcnn.drawing import Drawing
from kcnn.files import replacing

FOLDER = Path(__file__).parent / "demo"
LICENCE = "CC BY 4.0"  # of what they learned on
DATA = "Optical Recognition of Handwritten Digits (UCI Machine Learning Repository, doi:10.24432/C50P49)"


def shipped(drawing: Drawing | None) -> Path:
    """The file of a network's demo weights. ValueError where they do not serve, and what does."""
    name = drawing.name.rpartition(":")[2] if drawing else "this model"
    there = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    if drawing is None or drawing.architecture is None or name not in there:
        raise ValueError(f"kcnn comes with demo weights of {' and '.join(there)} alone, not of {name}")
    path = FOLDER / f"{name}.safetensors"
    known = card(path)
    if drawing.image.shape[2] != 1:
        raise ValueError(
            f"demo weights of {name} learned on {known['data']}, grey and 8x8 pixels: they know nothing of photos. "
            "Take published weights by name (imagenet) of a network that has some, or a file"
        )
    usual = drawing.architecture.defaults()
    for option, value in {**usual, **known["options"]}.items():
        mine = drawing.asked.get(option, usual[option])
        if option != "dropout" and mine != (tuple(value) if isinstance(value, list) else value):
            raise ValueError(f"demo weights of {name} are for {option}={value!r}, here it is {mine!r}")
    return path


def card(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return json.loads((file.metadata() or {})["card"])


def ship(run: Path) -> Path:
    """Put the weights of a finished run into the package, in float16, with the run's facts on their card."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    from kcnn import runs
    from kcnn.models import load
    from kcnn.weights import save

    found = runs.metrics(run)
    model = load(run / "model.keras")
    request = found["request"]
    model.update_card(
        command=found["command"],
        data=f"{request['data']} of {DATA}",
        licence=LICENCE,
        seed=request["seed"],
        accuracy=found["accuracy"],
        test_images=found["test_images"],
    )
    path = FOLDER / f"{model.card['network'].rpartition(':')[2]}.safetensors"
    with replacing(path) as temporary:
        save(model, temporary)
        halves = {name: array.astype(np.float16) for name, array in load_file(temporary).items()}
        save_file(halves, temporary, {"card": json.dumps(model.card)})
    return path


if __name__ == "__main__":
    print(ship(Path(sys.argv[1])))
