"""Image files before they are decoded: format, size, orientation and limits, from their bytes. No TensorFlow here.

Decoders get the file without its metadata, so that a flaw there cannot end them.
"""

import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike

MAX_BYTES = 256 << 20  # of a file
MAX_PIXELS = {  # each takes up to 7 bytes while it is decoded, of WebP 28, of a progressive JPEG 12
    "JPEG": 178_956_970,
    "progressive JPEG": 64_000_000,
    "WEBP": 32_000_000,
}
MAX_PIXELS_OF_OTHERS = 89_478_485
MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10
MAX_SCANNED = 1_000_000_000  # pixels times scans of a progressive JPEG: each scan visits all of them
MAX_INTERPRETED = 2_000_000  # pixels of what Pillow decodes in Python: run-length BMP, plain PPM, PPM of odd ranges
MAX_ITEMS = 1_000_000  # chunks of a PNG, blocks before and in the first frame of a GIF
SUPPORTED = "JPEG, PNG, GIF, BMP, WebP, TIFF and PPM"
FOREIGN = (  # formats that people meet under the name of another, by where their signature stands
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyp", "HEIF or a video"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"\x00\x00\x01\x00", "ICO"),
)

JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither stuffing, padding nor a restart
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
JPEG_KEPT = {0xE0: (b"JFIF\0", 16), 0xEE: (b"Adobe", 14)}  # what tells the colors, and its least length
PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
TIFF_KEPT = {  # tags that pixels depend on
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of TIFF
ORIENTATION = 0x0112
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
RAW_PROFILE = b"Raw profile type exif\0"  # ImageMagick's, in text
PPM_HEADER = re.compile(rb"P([1-6])" + rb"(?:(?:\s|#[^\r\n]*[\r\n])+(\d{1,9}))" * 2)
PPM_RANGE = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,5})\s")


@dataclass(frozen=True)
class ImageFile:
    """A file whose format is known and whose size is within the limits.

    Attributes:
        format: "JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF" or "PPM".
        content: The first frame, without metadata.
        size: (columns, rows) as stored.
        orientation: 1 to 8, as in EXIF.
        bits: Bits of a sample.
        channels: Samples of a pixel of a JPEG; 0 for other formats.
        is_inverted: Whether deep samples are 0 for white.
    """

    format: str
    content: bytes
    size: tuple[int, int]
    orientation: int = 1
    bits: int = 8
    channels: int = 0
    is_inverted: bool = False


def read_file(path: str | PathLike[str]) -> bytes:
    """Return the content of an image file.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read, has more than 256 MB, or is not a regular file, such as a pipe, which may never end.
    """
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb", 0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise OSError(f"the file has {status.st_size >> 20} MB; the limit is {MAX_BYTES >> 20} MB")
        return file.read()


def inspect_file(content: bytes) -> ImageFile:
    """Return what an image file is, from its signature and headers, not from its name.

    Args:
        content: Its bytes.

    Raises:
        ValueError: It is not of a supported format, its headers are damaged, or it exceeds a limit.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"the file has {len(content) >> 20} MB; the limit is {MAX_BYTES >> 20} MB")
    inspect = _find_reader(content)
    try:
        return inspect(content)
    except (struct.error, IndexError):
        raise ValueError(f"truncated {inspect.__name__.removeprefix('_inspect_').upper()} file") from None


def _find_reader(content: bytes) -> Callable[[bytes], ImageFile]:
    if content.startswith(b"\xff\xd8\xff"):
        return _inspect_jpeg
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _inspect_png
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _inspect_gif
    if content.startswith(b"BM"):
        return _inspect_bmp
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return _inspect_webp
    if content.startswith((b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")):
        return _inspect_tiff
    if re.match(rb"P[1-6][\s#]", content):
        return _inspect_ppm
    for at, signature, name in FOREIGN:
        if content.startswith(signature, at):
            raise ValueError(f"{name} is not supported; convert the image to one of {SUPPORTED}")
    raise ValueError("not an image file" if content else "file is empty")


def _check_size(columns: int, rows: int, limit: int, what: str) -> None:
    if columns < 1 or rows < 1:
        raise ValueError(f"its size is {columns}x{rows}")
    if columns * rows > limit:
        raise ValueError(f"{columns}x{rows} pixels; the limit for {what} is {limit / 1e6:.0f} megapixels")


def _inspect_jpeg(content: bytes) -> ImageFile:
    """Segments up to the first scan; then the number of scans, where all of them are decoded together."""
    kept, exif, xmp, frame, start = [content[:2]], [b""], b"", (0, 0, 0, 0, 0), 0
    for start, marker, end in _jpeg_segments(content, 2):
        if marker == 0xDA:
            break
        if marker in JPEG_FRAMES:
            frame = (marker, *struct.unpack_from(">BHHB", content, start + 4))
        if marker == 0xE1 and content.startswith(b"Exif\0\0", start + 4):
            exif.append(content[start + 10 : end])
        elif marker == 0xE1 and content.startswith(b"http://ns.adobe.com/xap", start + 4):
            xmp = content[start + 4 : end]
        prefix, least = JPEG_KEPT.get(marker, (b"", 0))
        is_application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_application or (least and end - start >= least + 2 and content.startswith(prefix, start + 4)):
            kept.append(content[start:end])
    else:
        raise ValueError("truncated JPEG file")
    marker, bits, rows, columns, channels = frame
    if bits != 8:
        raise ValueError(f"JPEG of {bits} bits is not supported" if bits else "JPEG without a frame")
    _check_size(columns, rows, MAX_PIXELS["JPEG"], "JPEG")
    if marker in JPEG_PROGRESSIVE or content[start + 4] < channels:
        _check_size(columns, rows, MAX_PIXELS["progressive JPEG"], "progressive JPEG")
        limit = min(MAX_SCANS, MAX_SCANNED // (columns * rows))
        if sum(marker == 0xDA for _, marker, _ in _jpeg_segments(content, start)) > limit:
            raise ValueError(f"more than {limit} scans, the limit for a progressive JPEG of {columns}x{rows} pixels")
    orientation = _read_orientation(b"".join(exif), xmp)
    rest = memoryview(content)[start:]  # most of the file, copied once
    return ImageFile("JPEG", b"".join([*kept, rest]), (columns, rows), orientation, channels=channels)


def _jpeg_segments(content: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Beginning, marker and end of each segment; entropy-coded data and stray bytes are passed over."""
    for _ in range(MAX_ITEMS):
        match = JPEG_MARKER.search(content, at)
        if not match:
            return
        start, marker = match.start(), content[match.start() + 1]
        if marker == 0xD9:
            return
        at = start + 2
        if marker not in (0x01, 0xD8):
            at += int.from_bytes(content[start + 2 : start + 4], "big")
            yield start, marker, at
    raise ValueError(f"more than {MAX_ITEMS} segments")


def _inspect_png(content: bytes) -> ImageFile:
    columns, rows, bits = struct.unpack_from(">IIB", content, 16)
    _check_size(columns, rows, MAX_PIXELS_OF_OTHERS, "PNG")
    kept, exif, xmp, at = [content[:8]], b"", b"", 8
    for _ in range(MAX_ITEMS):
        length, kind = struct.unpack_from(">I4s", content, at)
        data, end = at + 8, at + 12 + length
        if kind in PNG_KEPT:
            kept.append(content[at:end])
        elif kind == b"eXIf":
            exif = content[data : end - 4]
        elif kind == b"iTXt" and content.startswith(b"XML:com.adobe.xmp\0", data):
            xmp = content[data : end - 4]
        elif kind in (b"tEXt", b"zTXt") and content.startswith(RAW_PROFILE, data):
            exif = exif or _read_raw_profile(content[data + len(RAW_PROFILE) : end - 4], kind == b"zTXt")
        at = end
        if kind == b"IEND" or at >= len(content):
            break
    else:
        raise ValueError(f"more than {MAX_ITEMS} chunks")
    return ImageFile("PNG", b"".join(kept), (columns, rows), _read_orientation(exif, xmp), bits)


def _read_raw_profile(text: bytes, is_compressed: bool) -> bytes:
    """EXIF as hexadecimal text under three lines; empty if it is damaged."""
    try:
        if is_compressed:
            text = zlib.decompressobj().decompress(text[1:], 1 << 20)
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _inspect_gif(content: bytes) -> ImageFile:
    columns, rows, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + _color_table(flags)
    head, control = content[:at], b""
    while content[at] != 0x2C:
        if content[at] == 0x3B:
            raise ValueError("GIF without an image")
        end = at + 1
        if content[at] == 0x21:
            end = _skip_blocks(content, at + 2)
            control = content[at:end] if content[at + 1] == 0xF9 else control
        at = end
    left, top, width, height, flags = struct.unpack_from("<HHHHB", content, at + 1)
    size = max(columns, left + width), max(rows, top + height)  # Pillow enlarges the canvas to the frame
    _check_size(*size, MAX_PIXELS_OF_OTHERS, "GIF")
    end = _skip_blocks(content, at + 11 + _color_table(flags))
    return ImageFile("GIF", b"".join((head, control, content[at:end], b";")), size)


def _color_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(content: bytes, at: int) -> int:
    """Position after a GIF's chain of blocks; the end of the file where the chain is truncated."""
    for _ in range(MAX_ITEMS):
        if at >= len(content) or not content[at]:
            return at + 1
        at += content[at] + 1
    raise ValueError(f"more than {MAX_ITEMS} blocks")


def _inspect_bmp(content: bytes) -> ImageFile:
    (header,) = struct.unpack_from("<I", content, 14)
    columns, rows = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    runs = header > 12 and struct.unpack_from("<I", content, 30)[0] in (1, 2)
    limit = MAX_INTERPRETED if runs else MAX_PIXELS_OF_OTHERS
    _check_size(columns, abs(rows), limit, "run-length BMP" if runs else "BMP")
    if runs and len(content) > 4 * MAX_INTERPRETED:
        raise ValueError(f"more than {4 * MAX_INTERPRETED >> 20} MB of run-length BMP")
    return ImageFile("BMP", content, (columns, abs(rows)))


def _inspect_webp(content: bytes) -> ImageFile:
    exif = xmp = b""
    size = 0, 0
    for kind, at, end in _riff_chunks(content):
        if kind == b"VP8X":
            fields = (int.from_bytes(content[at + i : at + i + 3], "little") + 1 for i in (4, 7))
            size = next(fields), next(fields)
        elif kind == b"VP8 " and size == (0, 0):
            columns, rows = struct.unpack_from("<HH", content, at + 6)
            size = columns & 0x3FFF, rows & 0x3FFF
        elif kind == b"VP8L" and size == (0, 0):
            (fields,) = struct.unpack_from("<I", content, at + 1)
            size = (fields & 0x3FFF) + 1, (fields >> 14 & 0x3FFF) + 1
        elif kind == b"EXIF":
            exif = content[at:end]
        elif kind == b"XMP ":
            xmp = content[at:end]
    _check_size(*size, MAX_PIXELS["WEBP"], "WebP")
    return ImageFile("WEBP", content, size, _read_orientation(exif, xmp))


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of the first chunks of a WebP file."""
    at = 12
    for _ in range(MAX_ITEMS):
        if at + 8 > len(content):
            return
        kind, length = struct.unpack_from("<4sI", content, at)
        yield kind, at + 8, at + 8 + length
        at += 8 + length + length % 2
    raise ValueError(f"more than {MAX_ITEMS} chunks")


def _inspect_tiff(content: bytes) -> ImageFile:
    order, is_big = "<" if content[:1] == b"I" else ">", 0x2B in content[2:4]
    count, entry, link = (order + "Q", order + "HHQ", 8) if is_big else (order + "H", order + "HHI", 4)
    (first,) = struct.unpack_from(order + ("Q" if is_big else "I"), content, 8 if is_big else 4)
    (entries,) = struct.unpack_from(count, content, first)
    if entries > 4096:
        raise ValueError(f"{entries} tags in a TIFF")
    start, step = first + struct.calcsize(count), struct.calcsize(entry) + link
    tags, kept, orientation = {}, [], 1
    for at in range(start, start + entries * step, step):
        tag, kind, number = struct.unpack_from(entry, content, at)
        if kind in INTEGERS:
            form = f"{order}{min(number, 8)}{INTEGERS[kind]}"
            where = at + step - link
            if struct.calcsize(order + INTEGERS[kind]) * number > link:
                (where,) = struct.unpack_from(entry[0] + entry[-1], content, where)
            fits = where + struct.calcsize(form) <= len(content)
            tags[tag] = struct.unpack_from(form, content, where) if fits else ()
        if tag in TIFF_KEPT:
            kept.append(content[at : at + step])
    (columns, *_), (rows, *_) = tags.get(256) or (0,), tags.get(257) or (0,)
    _check_size(columns, rows, MAX_PIXELS_OF_OTHERS, "TIFF")
    if 322 in tags and 323 in tags and tags[322] and tags[323]:
        _check_size(tags[322][0], tags[323][0], MAX_PIXELS_OF_OTHERS, "a tile of TIFF")
    if formats := set(tags.get(339, ())) - {1}:
        names = {2: "signed integers (mode I)", 3: "floating-point numbers (mode F)"}
        raise ValueError(
            f"TIFF of {names.get(formats.pop(), 'undefined samples')}, whose range is not defined; "
            "convert it to unsigned samples of 8 or 16 bits"
        )
    if (value := tags.get(ORIENTATION, (1,))) and value[0] in range(1, 9):
        orientation = value[0]
    directory = struct.pack(count, len(kept)) + b"".join(kept)
    length = start + entries * step + link - first
    return ImageFile(
        "TIFF",
        content[:first] + directory.ljust(length, b"\0") + content[first + length :],
        (columns, rows),
        orientation,
        (tags.get(258) or (1,))[0],
        is_inverted=(tags.get(262) or (1,))[0] == 0,
    )


def _inspect_ppm(content: bytes) -> ImageFile:
    header = PPM_HEADER.match(content, 0, 1 << 16)
    if not header:
        raise ValueError("damaged header of PPM")
    kind, columns, rows = (int(field) for field in header.groups())
    most = PPM_RANGE.match(content, header.end(), 1 << 16)
    bound = 1 if kind in (1, 4) or not most else int(most[1])
    is_interpreted = kind < 4 or not (kind == 4 or bound == 255 or (kind == 5 and bound == 65535))
    limit = MAX_INTERPRETED if is_interpreted else MAX_PIXELS_OF_OTHERS
    _check_size(columns, rows, limit, "plain PPM or one of an odd range" if is_interpreted else "PPM")
    if kind < 4 and len(content) > 16 * MAX_INTERPRETED:
        raise ValueError(f"more than {16 * MAX_INTERPRETED >> 20} MB of plain PPM")
    return ImageFile("PPM", content, (columns, rows), bits=8 if bound < 256 else 16)


def _read_orientation(exif: bytes, xmp: bytes) -> int:
    """Orientation in a block of EXIF or of XMP; 1 where neither holds a valid one."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order:
            (first,) = struct.unpack_from(order + "I", exif, 4)
            (entries,) = struct.unpack_from(order + "H", exif, first)
            for at in range(first + 2, first + 2 + 12 * entries, 12):
                tag, kind, number = struct.unpack_from(order + "HHI", exif, at)
                if tag == ORIENTATION and number == 1 and kind in (1, 3, 4):
                    (value,) = struct.unpack_from(order + INTEGERS[kind], exif, at + 8)
                    if value in range(1, 9):
                        return int(value)
    except struct.error:
        pass
    match = XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1
