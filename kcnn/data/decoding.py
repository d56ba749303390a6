"""Image files as arrays of one size and number of channels. No TensorFlow here."""

import io
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
ORIENTATION = 0x0112  # the tag of EXIF
SIDEWAYS = (5, 6, 7, 8)  # its values where rows are columns; a broken file may have text there
UPRIGHT = {  # by EXIF's orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class ImageDecodeError(ValueError):
    """A file that is not a complete image.

    Args:
        file: Its path, or what else the image is called.
        reason: Why it cannot be decoded.
    """

    def __init__(self, file: str, reason: str):
        super().__init__(f"cannot decode {file}: {reason}")
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.file, self.reason)


def crop_box(rows: int, columns: int, to_rows: int, to_columns: int) -> tuple[int, int, int, int]:
    """Return the largest central box with the proportions of a target.

    Args:
        rows: Height of the image.
        columns: Width of the image.
        to_rows: Height of the target.
        to_columns: Width of the target.

    Returns:
        (top, left, bottom, right).
    """
    if rows * to_columns > columns * to_rows:
        height, width = max(1, round(columns * to_rows / to_columns)), columns
    else:
        height, width = rows, max(1, round(rows * to_columns / to_rows))
    top, left = (rows - height) // 2, (columns - width) // 2
    return top, left, top + height, left + width


def check_channels(channels: int) -> None:
    """Check that images can be read with a number of channels.

    Args:
        channels: Channels of the input.

    Raises:
        ValueError: It is not 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"images have 1 channel (gray) or 3 (RGB), got {channels}")


def decode(
    source: str | PathLike[str] | bytes,
    shape: tuple[int, int, int],
    *,
    resize_shorter_to: int | None = None,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Return an image file as pixels: upright by its EXIF tag, cropped centrally, resized.

    An animation gives its first frame; transparent pixels become white.

    Args:
        source: Path, or the content of a file.
        shape: (rows, columns, 1 or 3).
        resize_shorter_to: Resize the shorter side to this number of pixels and crop the middle, as published weights
            are evaluated; by default the largest box with the proportions of `shape` is resized.
        interpolation: Filter of Pillow for `resize_shorter_to`.

    Returns:
        uint8 of that shape.

    Raises:
        ImageDecodeError: The file is not an image, is truncated or is damaged.
        ValueError: The shape has neither 1 nor 3 channels.
    """
    check_channels(shape[2])
    file = "image" if isinstance(source, bytes) else str(source)
    content = b""
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if resize_shorter_to:
                return _resize_and_crop(image, shape, resize_shorter_to, Image.Resampling[interpolation.upper()])
            pixels = _decode_jpeg(content, image, shape)
            if pixels is None:
                ImageOps.exif_transpose(image, in_place=True)
                pixels = np.asarray(_convert(image, shape[2]))
        return resize(pixels, shape)
    except UnidentifiedImageError:
        raise ImageDecodeError(file, "not an image file" if content else "file is empty") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageDecodeError(file, str(error).splitlines()[0] if str(error) else type(error).__name__) from None


def resize(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the largest central box with the proportions of a shape, resized bilinearly.

    Every pixel of a box that shrinks counts: to less than half by its area, else by the variance that
    Pillow's triangle filter has above a bilinear sample's, (shrinks² - 1) / 6, as three weights along each side.

    Args:
        pixels: uint8 (rows, columns) or (rows, columns, channels).
        shape: (rows, columns, channels), with as many channels.

    Returns:
        uint8 of that shape.
    """
    rows, columns, _ = shape
    top, left, bottom, right = crop_box(pixels.shape[0], pixels.shape[1], rows, columns)
    box = pixels[top:bottom, left:right]
    if box.shape[:2] == (rows, columns):
        return np.ascontiguousarray(box).reshape(shape)
    shrinks = max(box.shape[0] / rows, box.shape[1] / columns)
    if 1 < shrinks < 2:
        neighbor = (shrinks**2 - 1) / 12
        weights = np.array([neighbor, 1 - 2 * neighbor, neighbor])
        box = cv2.sepFilter2D(box, -1, weights, weights)
    box = cv2.resize(box, (columns, rows), interpolation=cv2.INTER_LINEAR if shrinks < 2 else cv2.INTER_AREA)
    return box.reshape(shape)


def _decode_jpeg(content: bytes, image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Pixels of a JPEG file, at a fraction of their number where that is enough; None for what Pillow has to decode.

    simplejpeg and OpenCV take half of Pillow's time from a photo of 500x375 to 224x224.
    """
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    orientation = image.getexif().get(ORIENTATION, 1)
    height, width = shape[:2] if orientation not in SIDEWAYS else (shape[1], shape[0])
    color_space = "GRAY" if shape[2] == 1 else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(content, color_space, min_height=height, min_width=width, min_factor=2)
    except ValueError:  # a file with a flaw: Pillow distinguishes flaws that harm from others
        return None
    return UPRIGHT.get(orientation, lambda a: a)(pixels)


def _resize_and_crop(
    image: Image.Image, shape: tuple[int, int, int], shorter: int, interpolation: Image.Resampling
) -> np.ndarray:
    """The middle of an image resized by its shorter side, as uint8 of that shape."""
    rows, columns, channels = shape
    if image.format == "JPEG":
        sideways = image.getexif().get(ORIENTATION) in SIDEWAYS
        size = (2 * columns, 2 * rows)  # published weights were measured with all pixels
        image.draft("RGB", size[::-1] if sideways else size)
    ImageOps.exif_transpose(image, in_place=True)
    image = _convert(image, channels)
    scale = max(shorter / min(image.size), rows / image.height, columns / image.width)
    image = image.resize((round(image.width * scale), round(image.height * scale)), interpolation)
    top, left = (image.height - rows) // 2, (image.width - columns) // 2
    return np.asarray(image.crop((left, top, left + columns, top + rows))).reshape(shape)


def _convert(image: Image.Image, channels: int) -> Image.Image:
    """The image in 8 bits and 1 or 3 channels, on white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    elif image.mode.startswith("I;16") or image.mode in ("I", "F"):
        deep = np.asarray(image, "float64")
        scale = 257.0 if deep.max(initial=0) > 255 else 1.0  # 16 bits of gray
        image = Image.fromarray((deep / scale).clip(0, 255).astype("uint8"))
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)  # which would copy


def fit_array(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image array in a shape, converted, cropped and resized like a file.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        shape: (rows, columns, 1 or 3).

    Returns:
        uint8 of that shape.
    """
    if image.shape[2] != shape[2]:
        image = np.asarray(_convert(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), shape[2]))
    return resize(image, shape)


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
        raise ValueError(f"pixels are 0..255, got {least}..{most}")
    if images.dtype.kind == "f" and most <= 1:
        raise ValueError("pixels are 0..255, got 0..1; multiply by 255 first")
    return np.round(images).astype("uint8")
