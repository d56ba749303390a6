"""ConvMixer: layer names in timm's files."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import make_mapping, rename_parts


def to_timm(layer):
    """Rename block1_depthwise_bn to blocks.0.0.fn.2, block1_pointwise to blocks.0.1: activations are counted."""
    fixed = {"stem": "stem.0", "stem_bn": "stem.2", "logits": "head"}
    if layer in fixed:
        return fixed[layer]
    number, part, norm = rename_parts(r"block(\d+)_(depthwise|pointwise)(_bn)?", layer)
    index = 2 * bool(norm)
    return f"blocks.{int(number) - 1}." + (f"0.fn.{index}" if part == "depthwise" else f"{1 + index}")


def map_timm(model: str) -> dict[str, WeightMapping]:
    """Return the mapping of files of a model of timm, and of the third of the paper's table as options of the first."""
    third = {"convmixer_1024_20_ks9_p14": {"width": 1024, "patch": 14}} if model == "convmixer_1536_20" else {}
    return {"timm": make_mapping(to_timm, models={model: {}, **third})}
