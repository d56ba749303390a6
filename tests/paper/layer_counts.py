"""Parameters of single layers, for the tests that sum a network's by hand."""


def normed(pixels, before, after):
    """A convolution of a kernel of so many pixels without bias, and the scale and offset behind it."""
    return pixels * before * after + 2 * after


def dense(before, after):
    return (before + 1) * after


def separable_twice(kernel, before, after):
    """The parameters of two separable convolutions, each with a normalization."""
    return sum(kernel**2 * channels + normed(1, channels, after) for channels in (before, after))


def inverted(before, expand, after, kernels=(3,), squeeze=0):
    """An inverted residual: depthwise kernels on the expanded channels, squeeze-and-excite to so many."""
    total = normed(1, before, expand) if expand != before else 0
    total += sum(kernel**2 * expand + 2 * expand for kernel in kernels)
    total += dense(expand, squeeze) + dense(squeeze, expand) if squeeze else 0
    return total + normed(1, expand, after)


def scaled(channels, width):
    """The nearest multiple of 8, not below 90%."""
    rounded = max(8, round(channels * width / 8 + 1e-9) * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded
