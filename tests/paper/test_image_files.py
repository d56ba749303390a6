"""Image files by their bytes: deep pixels, metadata, limits, and decoders that must never start."""

import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from kcnn.data.color_modes import to_uint8
from kcnn.data.decoding import ImageDecodeError, decode
from kcnn.data.image_files import inspect_file

ORIENTATION = 0x0112


def file(image, kind, **options):
    into = io.BytesIO()
    image.save(into, kind, **options)
    return into.getvalue()


def png(*chunks):
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gray(top, kind):
    """A deep gray image of one value."""
    deep = np.full((4, 4), top, "uint16")
    return b"P5 4 4 65535\n" + deep.astype(">u2").tobytes() if kind == "PPM" else file(Image.fromarray(deep), kind)


@pytest.mark.parametrize("shorter", [None, 4])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_decode_takes_the_range_of_deep_gray_from_the_type_of_the_file(kind, shorter):
    for top in (0, 1, 255, 256, 4095, 32768, 65535):
        for channels in (1, 3):
            pixels = decode(gray(top, kind), (4, 4, channels), resize_shorter_to=shorter)
            assert (pixels == top // 256).all(), top


def test_decode_reads_deep_color_and_deep_gray_alike():
    for value in (255, 256, 4095, 65535):
        row = b"\0" + struct.pack(">3H", value, value, value)
        color = png(
            (b"IHDR", struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(row)), (b"IEND", b"")
        )
        assert decode(color, (1, 1, 3))[0, 0].tolist() == [value // 256] * 3


@pytest.mark.parametrize(
    ("bits", "key", "row", "other"),
    [(2, 1, b"\x60", 170), (4, 3, b"\x32", 34), (8, 7, b"\7\2", 2), (16, 300, b"\1\x2c\1\x2d", 1)],
)
def test_decode_makes_the_transparent_gray_of_a_png_white(bits, key, row, other):
    header = struct.pack(">2I5B", 2, 1, bits, 0, 0, 0, 0)
    chunks = ((b"tRNS", struct.pack(">H", key)), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    assert decode(png((b"IHDR", header), *chunks), (1, 2, 1)).ravel().tolist() == [255, other]


def test_decode_inverts_a_deep_tiff_whose_zero_is_white():
    content = file(Image.fromarray(np.full((4, 4), 256, "uint16")), "TIFF", tiffinfo={262: 0})
    assert (decode(content, (4, 4, 1)) == 254).all()


@pytest.mark.parametrize("dtype", ["float32", "int32", "int16"])
def test_decode_refuses_pixels_without_a_defined_range_by_mode_and_file(dtype, tmp_path):
    image = Image.fromarray(np.ones((4, 4), "int32" if dtype == "int16" else dtype))
    image.save(tmp_path / "x.tif")
    with pytest.raises(ImageDecodeError, match=r"x\.tif: TIFF of .*mode [IF]"):
        decode(tmp_path / "x.tif", (4, 4, 3))


def with_exif(kind, exif):
    image = Image.new("RGB", (6, 4), (200, 100, 0))
    return file(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_decode_reads_pixels_whatever_the_exif_block_holds(kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x011A] = 72.5  # a rational
    exif.get_ifd(0x8769)[0x829A] = 0.01
    block, rng = exif.tobytes(), np.random.default_rng(0)
    upright = decode(with_exif(kind, exif), (6, 4, 3))
    for _ in range(300):
        mutated = bytearray(block)
        for at in rng.integers(6, len(block), rng.integers(1, 8)):
            mutated[at] = rng.integers(256)
        mutated = bytes(mutated[: rng.integers(6, len(block) + 1)])
        for shorter in (None, 4):
            pixels = decode(with_exif(kind, mutated), (6, 4, 3), resize_shorter_to=shorter)
            assert np.abs(pixels.astype(int) - upright).max() < 8


@pytest.mark.parametrize("shorter", [None, 9])
def test_decode_reads_pixels_whatever_other_metadata_holds(shorter):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), "uint8"))
    jpeg = file(image, "JPEG")
    segments = [(0xE0, b"JFIF\0"), (0xE2, b"MPF\0II\x2a\0\xff\xff"), (0xE2, b"ICC_PROFILE\0")]
    segments += [(0xED, b"Photoshop 3.0\x008BIM\4\4\0"), (0xEE, b"Adobe"), (0xFE, b"\0")]
    bad = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    damaged = jpeg[:2] + bad + jpeg[2:]
    expected = decode(jpeg, (9, 9, 3), resize_shorter_to=shorter)
    assert (decode(damaged, (9, 9, 3), resize_shorter_to=shorter) == expected).all()
    content = file(image, "PNG")
    chunks = png((b"iCCP", b"x\0\7"), (b"pHYs", b"\0"), (b"cHRM", b"\0"), (b"acTL", b""), (b"tEXt", b"a\0b"))[8:]
    chunks += struct.pack(">I", 4) + b"gAMAxxxx0000"  # a wrong checksum
    damaged = content[:33] + chunks + content[33:]
    assert (decode(damaged, (9, 9, 3), resize_shorter_to=shorter) == np.asarray(image)).all()


def test_decode_rotates_by_the_orientation_of_exif_and_else_of_xmp():
    row = b'<x tiff:Orientation="6"/>'
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + row
    jpeg = file(Image.new("RGB", (6, 4)), "JPEG")
    content = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + jpeg[2:]
    assert inspect_file(content).orientation == 6
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    assert inspect_file(file(Image.open(io.BytesIO(content)), "JPEG", exif=exif)).orientation == 3
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert inspect_file(file(Image.new("RGB", (6, 4)), kind, exif=exif)).orientation == 3, kind


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(99), "PostScript"),
        (b"\0\0\0\x20ftypavif" + bytes(99), "AVIF"),
        (b"\0\0\0\x20ftypheic" + bytes(99), "HEIF"),
        (b"%PDF-1.4", "PDF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "not an image file"),
        (b"SIMPLE  = T" + bytes(99), "not an image file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(999), "not an image file"),
    ],
)
def test_decode_never_starts_a_decoder_outside_the_list(content, name, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a decoder was tried"))
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageDecodeError, match=f"x.jpg: {name}"):
        decode(tmp_path / "x.jpg", (9, 9, 3))


def test_decode_reads_a_file_by_its_content_not_by_its_name(tmp_path):
    (tmp_path / "x.jpg").write_bytes(file(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG"))
    assert decode(tmp_path / "x.jpg", (4, 4, 3))[0, 0].tolist() == [1, 2, 3]


def jpeg_with_scans(count, columns=64, rows=64):
    content = file(Image.new("RGB", (columns, rows)), "JPEG", progressive=True)
    end = content.rindex(b"\xff\xd9")
    last = content.rindex(b"\xff\xda")
    return content[:end] + content[last:end] * count + content[end:]


def test_decode_refuses_a_jpeg_of_thousands_of_scans_at_once():
    assert decode(jpeg_with_scans(20), (9, 9, 3)).shape == (9, 9, 3)
    started = time.process_time()
    with pytest.raises(ImageDecodeError, match="scans"):
        decode(jpeg_with_scans(100_000), (9, 9, 3))
    assert time.process_time() - started < 1


def huge(kind):
    if kind == "PNG":
        return png((b"IHDR", struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)), (b"IDAT", b"x"), (b"IEND", b""))
    if kind == "PPM":
        return b"P6 60000 60000 255\n"
    if kind == "WEBP":
        size = struct.pack("<I", 12_999)[:3]
        return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size * 2
    content = bytearray(file(Image.new("RGB", (9, 9)), kind))
    if kind == "JPEG":
        struct.pack_into(">2H", content, content.index(b"\xff\xc0") + 5, 60_000, 60_000)
    elif kind == "GIF":
        at = 13 + (3 << (content[10] & 7) + 1)
        struct.pack_into("<2H", content, content.index(b",", at) + 5, 60_000, 60_000)  # of the frame, not the canvas
    elif kind == "BMP":
        struct.pack_into("<2i", content, 18, 60_000, -60_000)
    else:
        for tag in (256, 257):
            at = content.index(struct.pack("<HHI", tag, 4, 1))
            struct.pack_into("<I", content, at + 8, 60_000)
    return bytes(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_decode_refuses_more_pixels_than_fit_before_it_allocates_them(kind):
    with pytest.raises(ImageDecodeError, match=r"\d+x\d+ pixels; the limit"):
        decode(huge(kind), (9, 9, 3))


def test_decode_refuses_what_is_not_a_regular_file_or_too_large(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "large.jpg").open("wb") as large:
        large.truncate(300 << 20)
    for name, reason in (("pipe.jpg", "not a regular file"), ("large.jpg", "300 MB"), ("none.jpg", "No such file")):
        with pytest.raises(ImageDecodeError, match=reason):
            decode(tmp_path / name, (9, 9, 3))


@pytest.mark.parametrize("error", [SyntaxError, EOFError, OverflowError, KeyError, RuntimeError, ZeroDivisionError])
def test_decode_converts_whatever_a_decoder_raises(error, monkeypatch, tmp_path):
    def fail(image):
        raise error("odd")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    (tmp_path / "x.png").write_bytes(file(Image.new("RGB", (4, 4)), "PNG"))
    with pytest.raises(ImageDecodeError, match=r"x\.png: .*odd"):
        decode(tmp_path / "x.png", (4, 4, 3))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_decode_does_not_hide_what_is_not_of_the_file(error, monkeypatch):
    def fail(image):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(error):
        decode(file(Image.new("RGB", (4, 4)), "PNG"), (4, 4, 3))


def resize_like_torchvision(size, shorter):
    """The size after torchvision's Resize, which cuts fractions of a pixel off."""
    return tuple(shorter * side // min(size) for side in size)


def center_like_torchvision(size, cut):
    """Where torchvision's CenterCrop begins, which rounds a half to the even number."""
    return tuple(round((side - middle) / 2) for side, middle in zip(size, cut, strict=True))


def test_decode_cuts_fractions_off_and_rounds_a_half_to_even():
    image = Image.fromarray(np.arange(63, dtype="uint8")[:, None].repeat(40, 1))  # 40 columns, 63 rows
    assert decode(file(image, "PNG"), (36, 36, 1), resize_shorter_to=40)[0, 0, 0] == 14  # 27 rows are cut: 13.5
    assert decode(file(image, "PNG"), (34, 34, 1), resize_shorter_to=40)[0, 0, 0] == 14  # 29 rows are cut: 14.5
    assert resize_like_torchvision((500, 336), 40) == (59, 40)  # of 59.52


@pytest.mark.parametrize("size", [(20_000, 2), (2, 20_000), (1, 3_000), (3_000, 1)])
def test_decode_resizes_of_a_panorama_only_what_it_keeps(size):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), "uint8"))
    content, started = file(image, "PNG"), time.process_time()
    pixels = decode(content, (16, 16, 3), resize_shorter_to=18)
    assert time.process_time() - started < 1
    whole = image.resize(resize_like_torchvision(size, 18), Image.Resampling.BILINEAR)
    left, top = center_like_torchvision(whole.size, (16, 16))
    middle = np.asarray(whole.crop((left, top, left + 16, top + 16)))
    assert np.abs(pixels.astype(int) - middle).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (240, 240), (333, 517), (500, 336)])
def test_decode_resizes_an_ordinary_image_exactly_as_published_weights_are_evaluated(size, interpolation):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), "uint8"))
    whole = image.resize(resize_like_torchvision(size, 40), Image.Resampling[interpolation.upper()])
    left, top = center_like_torchvision(whole.size, (35, 35))
    expected = np.asarray(whole.crop((left, top, left + 35, top + 35)))
    pixels = decode(file(image, "PNG"), (35, 35, 3), resize_shorter_to=40, interpolation=interpolation)
    assert (pixels == expected).all()


@pytest.mark.parametrize("rows_and_columns", [(35, 35), (20, 30)])
@pytest.mark.parametrize("size", [(500, 375), (60, 300), (240, 240)])
def test_decode_squashes_an_image_exactly_as_timm_does(size, rows_and_columns):
    rows, columns = rows_and_columns
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), "uint8"))
    for shorter in (rows, 2 * rows):  # crop_pct=1, where nothing is cropped, and 0.5
        whole = image.resize((columns * shorter // rows, shorter), Image.Resampling.BICUBIC)
        left, top = center_like_torchvision(whole.size, (columns, rows))
        expected = np.asarray(whole.crop((left, top, left + columns, top + rows)))
        options = {"resize_shorter_to": shorter, "interpolation": "bicubic", "squash": True}
        assert (decode(file(image, "PNG"), (rows, columns, 3), **options) == expected).all()


def test_to_uint8_takes_a_black_image_of_floats_and_refuses_pixels_of_0_to_1():
    assert to_uint8(np.zeros((1, 4, 4, 3), "float32")).tolist() == np.zeros((1, 4, 4, 3)).tolist()
    with pytest.raises(ValueError, match=r"pixels are 0\.\.255, got 0\.\.1; multiply by 255"):
        to_uint8(np.full((1, 4, 4, 3), 0.5, "float32"))
