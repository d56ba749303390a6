"""A small ConvMixer (Trockman and Kolter, 2022) that exists only as Keras code."""

from kcnn import Architecture


def build_model(input_shape, classes, *, width: int = 64, depth: int = 4, patch: int = 2, kernel: int = 5):
    """Build the Keras model: pixels 0..255 in, logits out (arXiv:2201.09792, figure 2).

    Args:
        input_shape: (rows, columns, channels).
        classes: Number of classes.
        width: Number of maps.
        depth: Number of units, each a depthwise and a 1x1 convolution.
        patch: Pixels a side of the patches.
        kernel: Pixels a side of the depthwise convolutions.

    Returns:
        A functional keras.Model.
    """
    from keras import Input, Model, layers  # here, so that `kcnn list` needs no Keras

    def activate(x, name):
        return layers.BatchNormalization(name=f"{name}_bn")(layers.Activation("gelu", name=f"{name}_gelu")(x))

    image = Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescale")(image)
    x = activate(layers.Conv2D(width, patch, patch, name="patches")(x), "patches")
    for number in range(1, depth + 1):
        y = layers.DepthwiseConv2D(kernel, padding="same", name=f"mix{number}_space")(x)
        x = layers.Add(name=f"mix{number}_add")([activate(y, f"mix{number}_space"), x])
        x = activate(layers.Conv2D(width, 1, name=f"mix{number}_maps")(x), f"mix{number}_maps")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return Model(image, layers.Dense(classes, name="logits")(x), name="patchmixer")


patchmixer = Architecture(
    keras=build_model,
    reference="arXiv:2201.09792, figure 2, small",
    year=2022,
    input_shape=(32, 32, 3),
    classes=10,
    params=25_930,
    map_sizes=(16,),
)
