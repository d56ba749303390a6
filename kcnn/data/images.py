"""Pictures as arrays: decoded, brought to one size and number of channels. No TensorFlow here."""

import io
from os import PathLike

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
ORIENTATION = 0x0112  # the tag of EXIF; from 5 on, rows are columns


class Undecodable(ValueError):
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
    shorter: int | None = None,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """A picture file as uint8 (rows, columns, channels): turned as its EXIF says, cropped centrally, resized.

    All of the picture that has the shape's proportions is kept, or, with `shorter`, what lies in the
    middle once the shorter side has so many pixels. `interpolation` is a filter of Pillow's. A moving
    picture gives its first frame; transparent pixels are laid on white.
    Undecodable where the file is no picture, is cut short, or is broken inside.
    """
    check_channels(shape[2])
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            if picture.format == "JPEG":  # decodes at a fraction of its size where that is enough
                more = 2 if shorter else 1  # published weights were measured without that
                rows, columns = more * shape[0], more * shape[1]
                turned = picture.getexif().get(ORIENTATION, 1) > 4
                picture.draft("RGB", (rows, columns) if turned else (columns, rows))
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return fit(picture, shape, shorter, interpolation)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Undecodable(str(error).splitlines()[0] if str(error) else type(error).__name__) from None


def fit(
    picture: Image.Image, shape: tuple[int, int, int], shorter: int | None = None, interpolation: str = "bilinear"
) -> np.ndarray:
    """A PIL picture as uint8 of that shape."""
    rows, columns, channels = shape
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    elif picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        deep = np.asarray(picture, "float64")
        scale = 257.0 if deep.max(initial=0) > 255 else 1.0  # 16 bits of grey
        picture = Image.fromarray((deep / scale).clip(0, 255).astype("uint8"))
    mode = "L" if channels == 1 else "RGB"
    if picture.mode != mode:  # or it would be copied
        picture = picture.convert(mode)
    top, left, bottom, right = crop_box(picture.height, picture.width, rows, columns)
    filters = Image.Resampling[interpolation.upper()]
    if shorter:
        scale = max(shorter / min(picture.size), rows / picture.height, columns / picture.width)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), filters)
        top, left = (picture.height - rows) // 2, (picture.width - columns) // 2
        picture = picture.crop((left, top, left + columns, top + rows))
    elif (picture.height, picture.width) != (rows, columns):
        picture = picture.resize((columns, rows), filters, box=(left, top, right, bottom), reducing_gap=3.0)
    return np.asarray(picture).reshape(shape)


def fit_array(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A uint8 image (rows, columns, 1 or 3) as uint8 of that shape, cropped and resized like a file."""
    if image.shape == shape:
        return image
    return fit(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), shape)


def as_bytes(images: np.ndarray) -> np.ndarray:
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
