"""Weights and images computed from names and sizes alone, by NumPy's frozen generator."""

import re
from hashlib import sha256
from zlib import crc32

import numpy as np

CLASSES = 10


def seeded_tensor(name, shape, gain=1.0):
    """Return a tensor of a PyTorch state dict: signals neither vanish nor explode, statistics are not trivial.

    `gain` scales kernels: with less than 1, signals of long sums of gated branches do not grow into chaos.
    """
    random = np.random.RandomState(crc32(name.encode()))
    even = random.random_sample(shape).astype("float32")
    if len(shape) > 1:
        limit = np.sqrt(6 / np.prod(shape[1:]))  # He's variance
        if re.match(r"layer\d.*\.se(_module)?\.", name):  # after a linear layer, wide gates would amplify rounding
            limit /= 10
        return (even * 2 - 1) * np.float32(limit) * np.float32(gain)
    if name.endswith(("running_var", "weight")):  # of batch normalization
        return even * np.float32(0.8) + np.float32(0.6)
    return (even - np.float32(0.5)) * np.float32(0.4)


def pixels(rows, columns, count=2):
    """Return images 0..255, (count, rows, columns, 3)."""
    return (np.random.RandomState(rows).random_sample((count, rows, columns, 3)) * 255).astype("float32")


def hash_layout(shapes):
    """Return the first digits of a hash of the names and shapes of a state dict, without counts of batches."""
    lines = (f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()) if "num_b" not in name)
    return sha256("\n".join(lines).encode()).hexdigest()[:12]


def seeded_variables(name, shapes, gain=1.0):
    """Return the variables of a layer of Keras: kernel and bias, or those of a normalization; `gain` scales kernels."""
    arrays = []
    for number, shape in enumerate(shapes):
        random = np.random.RandomState(crc32(f"{name}/{number}".encode()))
        even = random.random_sample(shape).astype("float32")
        if len(shape) == 1:
            is_scale = len(shapes) == 4 and number in (0, 3)
            arrays.append(even * np.float32(0.8) + np.float32(0.6) if is_scale else (even - 0.5) * np.float32(0.4))
            continue
        inputs = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
        arrays.append((even * 2 - 1) * np.float32(gain * np.sqrt(6 / inputs)))
    return [array.astype("float32") for array in arrays]
