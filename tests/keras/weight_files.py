"""What the tests of weight files share."""

from kcnn import weights


def write(model, path):
    """Write the model to a file of the format of the path's suffix."""
    if path.suffix == ".safetensors":
        weights.save_weights(model, path)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def same(a, b):
    return all((x == y).all() for x, y in zip(a.get_weights(), b.get_weights(), strict=True))
