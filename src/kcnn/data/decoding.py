"""Image files as arrays of one size and number of channels. No TensorFlow here."""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from os import PathLike

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from kcnn.data.color_modes import convert, convert_array
from kcnn.data.image_files import MAX_PIXELS_OF_OTHERS, ImageFile, inspect_file, read_file
from kcnn.graph.formatting import to_printable
from kcnn.resampling import crop_box, resize_box

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
# No others: Image.open would start Ghostscript for a PostScript file under any name.
DECODERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
}
TURNS = {  # by orientation: whether rows are columns, then whether rows and columns are reversed
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
SUPPORT = {  # pixels that a filter of Pillow reaches from its center
    Image.Resampling.NEAREST: 1,
    Image.Resampling.BOX: 1,
    Image.Resampling.BILINEAR: 1,
    Image.Resampling.HAMMING: 1,
    Image.Resampling.BICUBIC: 2,
    Image.Resampling.LANCZOS: 3,
}
MARGIN = 8  # times its middle that a resized image may have before only the middle is resized
BAND = 1 << 22  # pixels that are converted together
PANORAMA = 3  # times its other side, or more for a longer input, that a side of a whole image may be: see _whole_box
SLACK = 1.25  # an image larger than asked for by less stays as it is: to resample it would cost time, and blur it

Box = tuple[int, int, int, int]  # top, left, bottom, right


class ImageDecodeError(ValueError):
    """A file that is not a complete image.

    Args:
        file: Its path, or what else the image is called.
        reason: Why it cannot be decoded.
    """

    def __init__(self, file: str, reason: str):
        super().__init__(to_printable(f"cannot decode {file}: {reason}".replace("\n", "\\n")))
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.file, self.reason)


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
    squash: bool = False,
) -> np.ndarray:
    """Return an image file as pixels: upright by its EXIF tag, cropped centrally, resized.

    An animation gives its first frame; transparent pixels become white; color profiles are ignored. The range of deep
    pixels follows from the type of the file: of 16 bits the upper 8 are taken, whatever is in them.

    Args:
        source: Path, or the content of a file.
        shape: (rows, columns, 1 or 3).
        resize_shorter_to: Resize the shorter side to this number of pixels and crop the middle, as published weights
            are evaluated; by default the largest box with the proportions of `shape` is resized.
        interpolation: Filter of Pillow for `resize_shorter_to`.
        squash: Resize the rows to `resize_shorter_to` and the columns to the proportions of `shape`, whatever those of
            the image.

    Returns:
        uint8 of that shape.

    Raises:
        ImageDecodeError: The file is not an image, is truncated or damaged, exceeds a limit (see image_files), or has
            pixels without a defined range.
        ValueError: The shape has neither 1 nor 3 channels.
    """
    check_channels(shape[2])
    resampling = Image.Resampling[interpolation.upper()]
    with _decode_errors("image" if isinstance(source, bytes) else str(source)):
        file = inspect_file(source if isinstance(source, bytes) else read_file(source))
        if not resize_shorter_to:
            pixels = _read(file, shape, partial(crop_box, to_rows=shape[0], to_columns=shape[1]))
        else:
            source_image, horizontal, vertical = _read_middle(
                file, shape, resize_shorter_to, SUPPORT[resampling], squash=squash
            )
    if not resize_shorter_to:
        return resize_box(pixels, shape)
    box = (horizontal.low, vertical.low, horizontal.high, vertical.high)
    resized = np.asarray(source_image.resize((horizontal.size, vertical.size), resampling, box))
    left, top = horizontal.margin, vertical.margin
    return np.ascontiguousarray(resized[top : top + shape[0], left : left + shape[1]]).reshape(shape)


def decode_whole(
    source: str | PathLike[str] | bytes, shape: tuple[int, int, int], memory: np.ndarray | None = None
) -> np.ndarray:
    """Return an image file as pixels: upright, uncropped, shrunk where it is larger than asked for.

    Of an image more than three times as long as wide, or the other way round, the middle is returned; for a shape that
    is itself longer, of one more than three times as long as the shape's proportions.

    Args:
        source: Path, or the content of a file.
        shape: (rows, columns, 1 or 3) that the image covers; a smaller one is not enlarged.
        memory: uint8 (bytes,) that the result may be a view of; new memory costs a sixth of the time of a small JPEG.

    Returns:
        uint8 (rows, columns, 1 or 3).

    Raises:
        ImageDecodeError: As `decode`.
    """
    with _decode_errors("image" if isinstance(source, bytes) else str(source)):
        file = inspect_file(source if isinstance(source, bytes) else read_file(source))
        pixels = _read(file, shape, partial(_whole_box, to_rows=shape[0], to_columns=shape[1]), memory)
    return shrink_whole(pixels.reshape(*pixels.shape[:2], shape[2]), shape)


def shrink_whole(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image array uncropped, converted and shrunk like a file by `decode_whole`.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        shape: (rows, columns, 1 or 3) that the image covers; a smaller one is not enlarged.

    Returns:
        uint8 (rows, columns, 1 or 3).
    """
    top, left, bottom, right = _whole_box(image.shape[0], image.shape[1], shape[0], shape[1])
    image = convert_array(image[top:bottom, left:right], shape[2])
    rows, columns, channels = image.shape
    scale = min(rows / shape[0], columns / shape[1])
    if scale <= SLACK:
        return np.ascontiguousarray(image)
    return resize_box(image, (max(1, round(rows / scale)), max(1, round(columns / scale)), channels))


def _whole_box(rows: int, columns: int, to_rows: int, to_columns: int) -> Box:
    """The middle of a panorama, all of another image; never less than the central box with a target's proportions."""
    most_rows = PANORAMA * columns * max(to_rows, to_columns) // to_columns
    most_columns = PANORAMA * rows * max(to_rows, to_columns) // to_rows
    return crop_box(rows, columns, min(rows, most_rows), min(columns, most_columns))


@contextmanager
def _decode_errors(file: str) -> Iterator[None]:
    """Convert what decoders raise for a damaged file, which may be anything, into ImageDecodeError.

    MemoryError is not of the file, as inspect_file limits what a file may take.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = str(error).splitlines()
        raise ImageDecodeError(file, reason[0] if reason else type(error).__name__) from error


def resize(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the largest central box with the proportions of a shape, resized bilinearly.

    Args:
        pixels: uint8 (rows, columns) or (rows, columns, channels).
        shape: (rows, columns, channels), with as many channels.

    Returns:
        uint8 of that shape.
    """
    top, left, bottom, right = crop_box(pixels.shape[0], pixels.shape[1], shape[0], shape[1])
    return resize_box(pixels[top:bottom, left:right], shape)


def _open(file: ImageFile) -> Image.Image:
    return DECODERS[file.format](io.BytesIO(file.content))


def _swap(file: ImageFile, size: tuple[int, int]) -> tuple[int, int]:
    """A size of the upright image as stored, or the other way round."""
    return size[::-1] if TURNS[file.orientation][0] else size


def _turn(pixels: np.ndarray, file: ImageFile) -> np.ndarray:
    """Pixels as stored, upright; by OpenCV, as NumPy copies what is reversed slowly."""
    swap, reverse_rows, reverse_columns = TURNS[file.orientation]
    if swap:
        pixels = cv2.transpose(pixels)
    if reverse_rows or reverse_columns:
        pixels = cv2.flip(pixels, -1 if reverse_rows and reverse_columns else int(reverse_columns))
    return pixels


def _read(
    file: ImageFile,
    shape: tuple[int, int, int],
    find_box: Callable[[int, int], Box],
    memory: np.ndarray | None = None,
) -> np.ndarray:
    """A box of the upright image, which covers a shape where the file has as many pixels."""
    pixels = _decode_jpeg(file, shape, memory) if file.channels in (1, 3) else None
    if pixels is not None:
        top, left, bottom, right = find_box(*pixels.shape[:2])
        return pixels[top:bottom, left:right]
    with _open(file) as image:
        if math.prod(image.size) > MAX_PIXELS_OF_OTHERS:  # more of a JPEG than would fit into memory
            image.draft(None, _swap(file, (shape[1], shape[0])))
        columns, rows = _swap(file, image.size)
        return _read_box(image, file, find_box(rows, columns), shape[2])


def _decode_jpeg(file: ImageFile, shape: tuple[int, int, int], memory: np.ndarray | None) -> np.ndarray | None:
    """Pixels of a JPEG file, at a fraction of their number where that is enough; None for what Pillow has to decode.

    simplejpeg and OpenCV take half of Pillow's time from a photo of 500x375 to 224x224.
    """
    width, height = _swap(file, (shape[1], shape[0]))
    color_space = "GRAY" if shape[2] == 1 else "RGB"
    if memory is not None and math.prod(file.size) * shape[2] > memory.size:
        memory = None
    try:
        pixels = simplejpeg.decode_jpeg(
            file.content, color_space, min_height=height, min_width=width, min_factor=2, buffer=memory
        )
    except ValueError:  # a file with a flaw: Pillow distinguishes flaws that harm from others
        return None
    return _turn(pixels, file)


@dataclass(frozen=True)
class _Side:
    """How a side of an image is resized.

    Attributes:
        first: Pixel from which on it is read.
        last: Pixel before which reading ends.
        low: Beginning of what is resized, from `first`.
        high: End of what is resized, from `first`.
        size: Pixels after resizing.
        margin: Pixels of these before the middle.
    """

    first: int
    last: int
    low: float
    high: float
    size: int
    margin: int


def _read_middle(
    file: ImageFile, shape: tuple[int, int, int], shorter: int, support: int, *, squash: bool
) -> tuple[Image.Image, _Side, _Side]:
    """What becomes the middle of the resized image, and how its width and height are resized."""
    rows, columns, channels = shape
    with _open(file) as image:
        image.draft("RGB", _swap(file, (2 * columns, 2 * rows)))  # published weights were measured with all pixels
        width, height = _swap(file, image.size)
        if squash:
            new_width, new_height = max(columns, round(shorter * columns / rows)), max(rows, shorter)
        else:
            scale = max(Fraction(shorter, min(width, height)), Fraction(rows, height), Fraction(columns, width))
            new_width, new_height = int(width * scale), int(height * scale)
        if new_width * new_height <= MARGIN * rows * columns:
            horizontal = _Side(0, width, 0, width, new_width, _center(new_width, columns))
            vertical = _Side(0, height, 0, height, new_height, _center(new_height, rows))
        else:  # a panorama, which would take as long as it is wide
            horizontal = _cut_side(width, new_width, columns, support)
            vertical = _cut_side(height, new_height, rows, support)
        box = (vertical.first, horizontal.first, vertical.last, horizontal.last)
        if box == (0, 0, height, width) and file.orientation == 1 and width * height <= BAND:
            return convert(image, channels, file), horizontal, vertical  # without copies
        return Image.fromarray(_read_box(image, file, box, channels)), horizontal, vertical


def _center(side: int, size: int) -> int:
    """The pixel at which the middle of a side begins, as torchvision and timm round it: a half to the even number."""
    return round((side - size) / 2)


def _cut_side(old: int, new: int, size: int, support: int) -> _Side:
    """The middle of a side, with the pixels around it that a filter reaches."""
    start = _center(new, size)
    low, high = start * old / new, (start + size) * old / new
    reach = support * max(1, old / new) + 1
    first, last = max(0, math.floor(low - reach)), min(old, math.ceil(high + reach))
    return _Side(first, last, low - first, high - first, size, 0)


def _read_box(image: Image.Image, file: ImageFile, box: Box, channels: int) -> np.ndarray:
    """A box of the upright image as uint8 (rows, columns) or (rows, columns, 3), on white where it is transparent."""
    swap, reverse_rows, reverse_columns = TURNS[file.orientation]
    columns, rows = _swap(file, image.size)
    top, left, bottom, right = box
    if reverse_rows:
        top, bottom = rows - bottom, rows - top
    if reverse_columns:
        left, right = columns - right, columns - left
    if swap:
        top, left, bottom, right = left, top, right, bottom
    pixels = np.empty((bottom - top, right - left, *((3,) if channels == 3 else ())), "uint8")
    step = max(1, BAND // (right - left))  # all rows at once would take four times the memory
    for first in range(top, bottom, step):
        last = min(first + step, bottom)
        band = image if (left, first, right, last) == (0, 0, *image.size) else image.crop((left, first, right, last))
        pixels[first - top : last - top] = np.asarray(convert(band, channels, file))
    return _turn(pixels, file)


def fit_array(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image array in a shape, converted, cropped and resized like a file.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        shape: (rows, columns, 1 or 3).

    Returns:
        uint8 of that shape.
    """
    return resize(convert_array(image, shape[2]), shape)
