"""Pictures as arrays: decoded, brought to one size and number of channels. No TensorFlow here."""

import io
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
ORIENTATION = 0x0112  # the tag of EXIF
SIDEWAYS = (5, 6, 7, 8)  # its values where rows are columns; a broken file may have text there
TURNED = {  # by EXIF's orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class ImageDecodeError(ValueError):
    """A file that is no whole picture."""


def crop_box(rows: int, columns: int, to_rows: int, to_columns: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the largest central part with the proportions asked for."""
    if rows * to_columns > columns * to_rows:
        height, width = max(1, round(columns * to_rows / to_columns)), columns
    else:
        height, width = rows, max(1, round(rows * to_columns / to_rows))
    top, left = (rows - height) // 2, (columns - width) // 2
    return top, left, top + height, left + width


def check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise ValueError(f"pictures are read as grey (1 channel) or RGB (3 channels), not with {channels}")


def decode(
    source: str | PathLike[str] | bytes,
    shape: tuple[int, int, int],
    *,
    resize_shorter_to: int | None = None,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """A picture file as uint8 (rows, columns, channels): turned as its EXIF says, cropped centrally, resized.

    All of the picture that has the shape's proportions is kept, or, with `shorter`, what lies in the
    middle once the shorter side has so many pixels, resized by a filter of Pillow's, `interpolation`.
    A moving picture gives its first frame; transparent pixels are laid on white.
    Undecodable where the file is no picture, is cut short, or is broken inside.
    """
    check_channels(shape[2])
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            if resize_shorter_to:
                return _middle(picture, shape, resize_shorter_to, Image.Resampling[interpolation.upper()])
            pixels = _jpeg(content, picture, shape)
            if pixels is None:
                ImageOps.exif_transpose(picture, in_place=True)
                pixels = np.asarray(_flat(picture, shape[2]))
        return resize(pixels, shape)
    except UnidentifiedImageError:
        raise ImageDecodeError("not an image file" if content else "file is empty") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageDecodeError(str(error).splitlines()[0] if str(error) else type(error).__name__) from None


def resize(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 (rows, columns[, channels]) as that shape: the largest central part of its proportions, bilinear.

    Every pixel of a part that shrinks counts: to less than half by its area, else by the variance that
    Pillow's triangle has above a bilinear sample's, (shrinks² - 1) / 6, as three weights along each side.
    """
    rows, columns, _ = shape
    top, left, bottom, right = crop_box(pixels.shape[0], pixels.shape[1], rows, columns)
    part = pixels[top:bottom, left:right]
    if part.shape[:2] == (rows, columns):
        return np.ascontiguousarray(part).reshape(shape)
    shrinks = max(part.shape[0] / rows, part.shape[1] / columns)
    if 1 < shrinks < 2:
        beside = (shrinks**2 - 1) / 12
        weights = np.array([beside, 1 - 2 * beside, beside])
        part = cv2.sepFilter2D(part, -1, weights, weights)
    part = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_LINEAR if shrinks < 2 else cv2.INTER_AREA)
    return part.reshape(shape)


def _jpeg(content: bytes, picture: Image.Image, shape: tuple[int, int, int]) -> np.ndarray | None:
    """A JPEG file's pixels, at a fraction of their number where that is enough; None for what is left to Pillow.

    simplejpeg and OpenCV take half of Pillow's time from a photo of 500x375 to 224x224.
    """
    if picture.format not in ("JPEG", "MPO") or picture.mode not in ("RGB", "L"):
        return None
    orientation = picture.getexif().get(ORIENTATION, 1)
    height, width = shape[:2] if orientation not in SIDEWAYS else (shape[1], shape[0])
    colours = "GRAY" if shape[2] == 1 else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(content, colours, min_height=height, min_width=width, min_factor=2)
    except ValueError:  # a file with a flaw: Pillow tells those that harm from others
        return None
    return TURNED.get(orientation, lambda a: a)(pixels)


def _middle(
    picture: Image.Image, shape: tuple[int, int, int], shorter: int, interpolation: Image.Resampling
) -> np.ndarray:
    """The middle of a picture resized by its shorter side, as uint8 of that shape."""
    rows, columns, channels = shape
    if picture.format == "JPEG":
        turned = picture.getexif().get(ORIENTATION) in SIDEWAYS
        size = (2 * columns, 2 * rows)  # published weights were measured with all pixels
        picture.draft("RGB", size[::-1] if turned else size)
    ImageOps.exif_transpose(picture, in_place=True)
    picture = _flat(picture, channels)
    scale = max(shorter / min(picture.size), rows / picture.height, columns / picture.width)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), interpolation)
    top, left = (picture.height - rows) // 2, (picture.width - columns) // 2
    return np.asarray(picture.crop((left, top, left + columns, top + rows))).reshape(shape)


def _flat(picture: Image.Image, channels: int) -> Image.Image:
    """The picture in 8 bits and so many channels, what is transparent on white."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    elif picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        deep = np.asarray(picture, "float64")
        scale = 257.0 if deep.max(initial=0) > 255 else 1.0  # 16 bits of grey
        picture = Image.fromarray((deep / scale).clip(0, 255).astype("uint8"))
    mode = "L" if channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)  # which would copy


def fit_array(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A uint8 image (rows, columns, 1 or 3) as uint8 of that shape, cropped and resized like a file."""
    if image.shape[2] != shape[2]:
        image = np.asarray(_flat(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), shape[2]))
    return resize(image, shape)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """(n, rows, columns[, 1 or 3]) numbers 0..255 as uint8 (n, rows, columns, channels); ValueError for others."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(f"images are (n, rows, columns) or (n, rows, columns, 1 or 3), not {images.shape}")
    if images.dtype == np.uint8 or not images.size:
        return images.astype("uint8", copy=False)  # a memory map stays one
    least, most = images.min(), images.max()
    if not (least >= 0 and most <= 255):
        raise ValueError(f"pixels are 0..255; these are {least}..{most}")
    if images.dtype.kind == "f" and most <= 1:
        raise ValueError("pixels are 0..255; these are 0..1, multiply by 255 first")
    return np.round(images).astype("uint8")
