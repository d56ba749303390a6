"""Image files as pixels of one size: rotated, cropped, resized, and refused if broken."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kcnn.data.decoding import ImageDecodeError, decode, decode_whole, fit_array, resize, shrink_whole
from kcnn.resampling import crop_box, resize_box

ORIENTATION = 0x0112


def rough(columns, rows):
    """An image with details of about 16 pixels."""
    small = np.random.default_rng(0).integers(0, 256, (max(2, rows // 16), max(2, columns // 16), 3), "uint8")
    return Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC)


def file(image, kind="JPEG", **options):
    into = io.BytesIO()
    image.save(into, kind, **options)
    return into.getvalue()


def away(one, other):
    return np.abs(one.astype(int) - other.astype(int)).mean()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_rotates_an_image_by_its_exif_orientation(orientation, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = rough(48, 32)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file(image, "PNG", exif=exif))))
    pixels = decode(file(image, kind, exif=exif, **{"quality": 95} if kind == "JPEG" else {}), (*upright.size[::-1], 3))
    assert away(pixels, np.asarray(upright)) < 4


@pytest.mark.parametrize("shorter", [None, 30])
def test_decode_ignores_an_orientation_that_is_not_a_number(shorter):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    as_text = (
        exif.tobytes()
        .replace(b"\x12\x01\x03\x00", b"\x12\x01\x02\x00")
        .replace(b"\x01\x12\x00\x03", b"\x01\x12\x00\x02")
    )
    jpeg = file(rough(48, 32), exif=as_text)
    assert isinstance(Image.open(io.BytesIO(jpeg)).getexif()[ORIENTATION], str)
    assert (
        decode(jpeg, (20, 20, 3), resize_shorter_to=shorter)
        == decode(file(rough(48, 32)), (20, 20, 3), resize_shorter_to=shorter)
    ).all()


def test_decode_reads_a_large_jpeg_at_a_fraction_in_every_orientation(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 30, 3), "uint8")).resize((480, 640), Image.Resampling.BICUBIC)
    upright = Image.Exif()
    upright[0x0112] = 6
    image.save(tmp_path / "straight.jpg", quality=95)
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "upright.jpg", quality=95, exif=upright)
    image.save(tmp_path / "whole.png")
    whole = decode(tmp_path / "whole.png", (200, 60, 3)).astype(int)
    for name in ("straight.jpg", "upright.jpg"):
        assert np.abs(decode(tmp_path / name, (200, 60, 3)) - whole).mean() < 3


@given(size=st.tuples(st.integers(8, 64), st.integers(8, 64)), place=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_resize_counts_every_pixel_of_an_image_that_shrinks(size, place):
    black = np.zeros((*size, 1), "uint8")
    _, _, bottom, right = box = crop_box(*size, 8, 8)
    row, column = (low + int(at * (high - 1 - low)) for low, high, at in zip(box, (bottom, right), place, strict=False))
    black[row, column] = 255
    assert resize(black, (8, 8, 1)).any()


@pytest.mark.parametrize("side", [30, 61, 99, 101, 130, 167, 199, 200, 450])
def test_resize_is_that_of_pillow_within_a_hundredth_of_white(side):
    image = rough(side, side)
    assert away(resize(np.asarray(image), (100, 100, 3)), np.asarray(image.resize((100, 100), 2))) < 2.55


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 512), (32, 400), (32, 256), (200, 401)])
def test_resize_box_averages_along_the_side_that_shrinks_whatever_the_other_does(size, channels):
    rows = np.zeros((400, 400, channels), "uint8")
    rows[::2] = 255
    for image, shape in ((rows, (*size, channels)), (rows.transpose(1, 0, 2), (*size[::-1], channels))):
        resized = resize_box(image, shape)
        assert resized.shape == shape
        assert np.abs(resized - 127.5).max() < 10


def test_resize_box_enlarges_a_side_bilinearly_while_the_other_shrinks():
    image = np.asarray(rough(60, 400))
    averaged = Image.fromarray(image).resize((60, 40), Image.Resampling.BOX)
    expected = np.asarray(averaged.resize((150, 40), Image.Resampling.BILINEAR))
    assert away(resize_box(image, (40, 150, 3)), expected) < 1


def test_fit_array_converts_between_gray_and_color():
    assert fit_array(np.full((9, 9, 1), 7, "uint8"), (5, 5, 3)).tolist() == [[[7, 7, 7]] * 5] * 5
    assert fit_array(np.full((9, 9, 3), 7, "uint8"), (9, 9, 1)).tolist() == [[[7]] * 9] * 9
    for shape in ((40, 40, 3), (40, 40, 1)):
        jpeg = decode(file(rough(40, 40), quality=95), shape)
        assert away(jpeg, decode(file(rough(40, 40), "PNG"), shape)) < 4


def test_decode_reads_a_cmyk_jpeg():
    assert away(decode(file(rough(40, 40).convert("CMYK"), quality=95), (40, 40, 3)), np.asarray(rough(40, 40))) < 4


def test_decode_refuses_a_truncated_or_damaged_jpeg_but_not_harmless_bytes():
    whole = file(rough(200, 200), quality=95)
    scan = whole.index(b"\xff\xda")
    for broken in (whole[: len(whole) // 2], whole[: scan + 100], whole[:20], b"", b"not an image"):
        with pytest.raises(ImageDecodeError):
            decode(broken, (50, 50, 3))
    assert (decode(whole + b"behind the end", (50, 50, 3)) == decode(whole, (50, 50, 3))).all()
    with_stray_bytes = whole[:scan] + b"\x00\x00" + whole[scan:]  # which libjpeg warns of
    assert (decode(with_stray_bytes, (200, 200, 3)) == decode(whole, (200, 200, 3))).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_decode_converts_every_mode_to_rgb_or_gray(mode, tmp_path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    (Image.new(mode, (9, 9)) if mode == "I;16" else Image.new("RGB", (9, 9)).convert(mode)).save(path)
    assert decode(path, (5, 5, 3)).shape == (5, 5, 3)
    assert decode(path, (5, 5, 1)).dtype == "uint8"


def test_crop_box_is_the_largest_central_one_of_the_proportions():
    assert crop_box(100, 200, 50, 50) == (0, 50, 100, 150)
    assert crop_box(200, 100, 50, 100) == (75, 0, 125, 100)
    assert crop_box(8, 8, 64, 64) == (0, 0, 8, 8)


@pytest.mark.parametrize(("content", "reason"), [(b"", "file is empty"), (b"a letter", "not an image file")])
def test_decode_names_the_file_and_the_reason(content, reason, tmp_path):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageDecodeError) as failed:
        decode(tmp_path / "x.jpg", (8, 8, 3))
    assert str(failed.value) == f"cannot decode {tmp_path / 'x.jpg'}: {reason}"
    assert str(pickle.loads(pickle.dumps(failed.value))) == str(failed.value)


def test_decode_error_names_a_file_in_one_line_of_printable_characters():
    error = ImageDecodeError("a\n\x1b[31mb\udcff.jpg", "file is empty")
    assert str(error) == "cannot decode a\\n\\x1b[31mb\\xff.jpg: file is empty"
    assert error.file == "a\n\x1b[31mb\udcff.jpg"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", [(160, 160), (213, 213), (50, 300), (400, 400), (448, 448)])
def test_decode_whole_covers_a_shape_by_less_than_a_quarter_more_and_crops_nothing(shape, kind):
    image = rough(640, 424)
    pixels = decode_whole(file(image, kind, **({"quality": 95} if kind == "JPEG" else {})), (*shape, 3))
    rows, columns, _ = pixels.shape
    assert 0.99 < min(rows / shape[0], columns / shape[1]) <= 1.25 or (rows, columns) == (424, 640)
    assert rows <= 424  # never enlarged
    assert abs(columns / rows - 640 / 424) < 0.02
    assert away(pixels, np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("size", "expected"), [((1200, 100), (100, 300)), ((30, 900), (90, 30))])
def test_decode_whole_takes_the_middle_of_a_panorama(size, expected, kind):
    image = rough(*size)
    pixels = decode_whole(file(image, kind), (90, 90, 3))
    assert pixels.shape == (*expected, 3)
    top, left = (size[1] - expected[0]) // 2, (size[0] - expected[1]) // 2
    middle = np.asarray(image)[top : top + expected[0], left : left + expected[1]]
    assert away(pixels, middle) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("size", "shape", "expected"),
    [
        ((1024, 128), (64, 512), (64, 512)),
        ((128, 1024), (512, 64), (512, 64)),
        ((3200, 64), (64, 512), (64, 1536)),
        ((96, 96), (16, 128), (96, 96)),
        ((60, 400), (16, 128), (180, 60)),
    ],
)
def test_decode_whole_cuts_no_image_that_is_as_long_as_the_shape(size, shape, expected, kind):
    image = rough(*size)
    pixels = decode_whole(file(image, kind), (*shape, 3))
    assert pixels.shape == (*expected, 3)
    assert away(fit_array(pixels, (*shape, 3)), decode(file(image, "PNG"), (*shape, 3))) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_whole_rotates_a_file_and_reads_an_array_of_the_same_pixels_alike(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = rough(96, 64)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file(image, "PNG", exif=exif))))
    expected = shrink_whole(np.asarray(upright), (20, 20, 1))
    assert expected.shape == (*((30, 20) if orientation > 4 else (20, 30)), 1)
    assert (decode_whole(file(image, "PNG", exif=exif), (20, 20, 1)) == expected).all()


@pytest.mark.parametrize(("size", "fits"), [((70, 90), True), ((300, 400), False)])
def test_decode_whole_uses_the_memory_it_is_given_where_the_photo_fits(size, fits):
    content, memory = file(rough(*size), "JPEG", quality=95), np.full(2 * 100 * 100 * 3, 7, "uint8")
    pixels = decode_whole(content, (100, 100, 3), memory)
    assert np.shares_memory(pixels, memory) == fits
    assert (pixels == decode_whole(content, (100, 100, 3))).all()
    assert (memory[pixels.size if fits else 0 :] == 7).all()


def test_decode_whole_names_a_broken_file():
    with pytest.raises(ImageDecodeError, match=r"cannot decode image: .*truncated"):
        decode_whole(file(rough(96, 64), "PNG")[:-40], (20, 20, 3))
