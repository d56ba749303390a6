"""Demo weights that come with kcnn: of a small network pretrained on digits, to try fine-tuning offline.

kcnn.fine_tuning.demo_weights writes them; the metadata of each file has the command that trained it.
"""

import json
from pathlib import Path
from typing import Any

from kcnn.graph.graph import Graph

FOLDER = Path(__file__).parent / "demo"


def find_packaged(drawing: Graph | None) -> Path:
    """The file of a network's demo weights. ValueError where they do not serve, and what does."""
    name = drawing.name.rpartition(":")[2] if drawing else "this model"
    there = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    if drawing is None or drawing.architecture is None or drawing.spec is None or name not in there:
        raise ValueError(f"kcnn comes with demo weights of {' and '.join(there)} alone, not of {name}")
    path = FOLDER / f"{name}.safetensors"
    known = packaged_metadata(path)
    if drawing.input.shape[2] != 1:
        raise ValueError(
            f"demo weights of {name} learned on {known['data']}, grey and 8x8 pixels: they know nothing of photos. "
            "Take published weights by name (imagenet) of a network that has some, or a file"
        )
    usual = drawing.architecture.defaults()
    for option, value in {**usual, **known["spec"]["options"]}.items():
        mine = drawing.spec.options.get(option, usual[option])
        if option != "dropout" and mine != (tuple(value) if isinstance(value, list) else value):
            raise ValueError(f"demo weights of {name} are for {option}={value!r}, here it is {mine!r}")
    return path


def packaged_metadata(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return json.loads((file.metadata() or {})["metadata"])
