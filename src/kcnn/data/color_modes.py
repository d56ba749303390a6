"""Pixels in 8 bits, gray or of three colors. No TensorFlow here."""

import numpy as np
from PIL import Image

from kcnn.data.image_files import ImageFile

MODE = {1: "L", 3: "RGB"}  # by channels
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}  # of 8 bits or fewer


def convert(image: Image.Image, channels: int, file: ImageFile) -> Image.Image:
    """Return an image in 8 bits and 1 or 3 channels, on white where it is transparent.

    Args:
        image: Of the file, or a box of it.
        channels: 1 or 3.
        file: What is known of the file.

    Raises:
        ValueError: The range of its pixels is not known.
    """
    image.load()
    transparency = image.info.get("transparency")
    if image.mode.startswith("I;16") or (image.mode == "I" and file.format in ("PNG", "PPM")):
        image, transparency = _reduce_depth(image, file, transparency), None
    if image.mode not in MODES:
        raise ValueError(f"{file.format} of mode {image.mode}, whose range is not known; convert it to 8 or 16 bits")
    if isinstance(transparency, int) and image.mode == "L":
        image.info["transparency"] = transparency * 255 // ((1 << file.bits) - 1)  # which Pillow leaves as stored
    elif isinstance(transparency, tuple) and file.bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparency)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    mode = MODE[channels]
    return image if image.mode == mode else image.convert(mode)  # which would copy


def _reduce_depth(image: Image.Image, file: ImageFile, transparency: int | None) -> Image.Image:
    """The upper 8 bits of deep gray, as Pillow keeps them of deep color: the range is the file's, whatever is in it."""
    deep = np.asarray(image).astype("uint16")
    gray = (deep >> (file.bits - 8)).astype("uint8")
    if file.is_inverted:
        gray = 255 - gray
    if transparency is not None:
        gray[deep == transparency] = 255
    return Image.fromarray(gray)


def convert_array(image: np.ndarray, channels: int) -> np.ndarray:
    """Return an image array with 1 or 3 channels: gray repeated, or colors weighted as Pillow does.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        channels: 1 or 3.

    Returns:
        uint8 (rows, columns, channels).
    """
    if image.shape[2] == channels:
        return image
    converted = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert(MODE[channels])
    return np.asarray(converted).reshape(*image.shape[:2], channels)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Return images as uint8 with an axis of channels.

    Args:
        images: Numbers from 0 to 255, (images, rows, columns) or (images, rows, columns, 1 or 3).

    Returns:
        uint8 (images, rows, columns, channels).

    Raises:
        ValueError: They have another shape or other values.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(f"images are (n, rows, columns) or (n, rows, columns, 1 or 3), got {images.shape}")
    if images.dtype == np.uint8 or not images.size:
        return images.astype("uint8", copy=False)  # a memory map stays one
    least, most = images.min(), images.max()
    if not (least >= 0 and most <= 255):
        cure = "; where they are preprocessed, pass the original pixels: networks scale them themselves"
        raise ValueError(f"pixels are 0..255, got {least}..{most}{cure if least < 0 else ''}")
    if images.dtype.kind == "f" and 0 < most <= 1:  # 0 is black in both
        raise ValueError("pixels are 0..255, got 0..1; multiply by 255 first")
    return np.round(images).astype("uint8")
