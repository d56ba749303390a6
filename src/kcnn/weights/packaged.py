"""Weights that come with kcnn: a small network trained on digits, to try transfer learning offline.

kcnn.fine_tuning.shipping makes them; the metadata of each file has its command, data, seed and accuracy.
"""

from pathlib import Path
from typing import Any

from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import parse_json
from kcnn.graph.graph import Graph

DEMO = "demo"  # the name of these weights
FOLDER = Path(__file__).parent / "demo"


def find_packaged(graph: Graph | None) -> Path:
    """Find the packaged weights of a network.

    Args:
        graph: The network; None for a model that kcnn did not build.

    Returns:
        The file.

    Raises:
        ValueError: There are none for this network, its options or its input channels.
    """
    name = graph.name.rpartition(":")[2] if graph else "this model"
    known = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    if graph is None or graph.architecture is None or graph.spec is None or name not in known:
        raise ValueError(f"{DEMO!r} weights are packaged for {', '.join(known)} only, not for {name}")
    path = FOLDER / f"{name}.safetensors"
    metadata = packaged_metadata(path)
    if graph.input.shape[2] != 1:
        raise ValueError(
            f"{DEMO!r} weights of {name} were trained on {metadata['data']}, gray images of 8x8 pixels, and are of no "
            f"use for photos; use weights='imagenet' with a network that has them, or a file"
        )
    defaults = graph.architecture.defaults()
    trained = {**defaults, **ModelSpec.from_json(metadata["spec"]).options}
    for option, value in trained.items():
        actual = graph.spec.options.get(option, defaults[option])
        if option != "dropout" and actual != value:
            raise ValueError(f"{DEMO!r} weights of {name} were trained with {option}={value!r}, got {actual!r}")
    return path


def packaged_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of a .safetensors file.

    Args:
        path: The file.

    Returns:
        The metadata of the model that was saved, with facts of its training.
    """
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return parse_json((file.metadata() or {})["metadata"])
