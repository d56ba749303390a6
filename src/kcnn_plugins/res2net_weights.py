"""Res2Net: layer names in timm's files, which are those of the authors."""

from kcnn.architectures.publishers import make_mapping, rename_parts


def to_timm(layer):
    """Rename stage1_unit2_b3_bn to layer1.1.bns.2."""
    if layer in ("stem", "stem_bn", "logits"):
        return {"stem": "conv1", "stem_bn": "bn1", "logits": "fc"}[layer]
    stage, unit, position, number, norm = rename_parts(r"stage(\d)_unit(\d+)_(a|b|c|skip)(\d*)(_bn)?", layer)
    kind = "bn" if norm else "conv"
    within = {
        "a": f"{kind}1",
        "b": f"{kind}s.{int(number or 1) - 1}",
        "c": f"{kind}3",
        "skip": f"downsample.{int(bool(norm))}",
    }
    return f"layer{stage}.{int(unit) - 1}.{within[position]}"


def map_timm(model):
    """Return the mapping of timm's files, for its network of this name and those that are the same one with options."""
    others = OTHER_SCALES if model == "res2net50_26w_4s" else {}
    return {"timm": make_mapping(to_timm, models={model: {}, **others})}


OTHER_SCALES = {
    f"res2net50_{base_width}w_{scale}s": {"base_width": base_width, "scale": scale}
    for base_width, scale in ((48, 2), (26, 6), (14, 8), (26, 8))
}
