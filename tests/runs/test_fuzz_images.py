"""Damaged and odd image files through every reader: decoded, or refused by name, soon and in little memory."""

import io
import random
import struct
import time

import numpy as np
from PIL import Image

from kcnn.data.decoding import ImageDecodeError, decode
from tests.damage import fuzz_in_processes, peak_memory

IMAGES = 1000
SECONDS, MEGABYTES = 10, 1024  # for one image
SEED = 0
KINDS = {  # formats, the modes they hold, and options
    "JPEG": (("RGB", "L", "CMYK"), {"quality": 90}),
    "progressive": (("RGB", "L"), {"progressive": True}),
    "PNG": (("RGB", "L", "RGBA", "LA", "P", "1", "I;16"), {}),
    "GIF": (("P", "L"), {}),
    "BMP": (("RGB", "L", "P", "1"), {}),
    "WEBP": (("RGB", "RGBA"), {"method": 0}),
    "TIFF": (("RGB", "L", "CMYK", "1", "P", "I;16", "F", "I"), {}),
    "lzw": (("RGB", "L", "I;16"), {"compression": "tiff_lzw"}),
    "tiff_jpeg": (("RGB", "L"), {"compression": "jpeg"}),
    "PPM": (("RGB", "L", "1", "I"), {}),
    "AVIF": (("RGB",), {"speed": 10}),
}
FORMATS = {"progressive": "JPEG", "lzw": "TIFF", "tiff_jpeg": "TIFF"}
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")


def seeds(rng):
    """Whole files of every format and mode, small ones, with EXIF where there is a place for it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.5
    exif.get_ifd(0x8769)[0x829A] = 0.01
    pixels = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (24, 31, 3), "uint8")
    for name, (modes, options) in KINDS.items():
        kind = FORMATS.get(name, name)
        for mode in modes:
            gray = Image.fromarray(pixels).convert("L")
            image = Image.fromarray(np.asarray(gray).astype("uint16") * 200) if mode == "I;16" else gray.convert(mode)
            into = io.BytesIO()
            image.save(into, kind, **options, **({"exif": exif} if kind in WITH_EXIF else {}))
            yield into.getvalue()


def truncate(content, rng):
    return content[: rng.randrange(len(content) + 1)]


def flip_bits(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def damage_head(content, rng):
    """Headers are where sizes, types and metadata are declared."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 2, 6))):
        damaged[rng.randrange(min(len(damaged), 200))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(damaged)


def declare_more(content, rng):
    """A size of the image, wherever it may stand, becomes a large one."""
    most = rng.choice((0, 65_535, 16_383, 9_000, 40_000))
    for size in (24, 31):
        for form in (">I", "<I", ">H", "<H"):
            content = content.replace(struct.pack(form, size), struct.pack(form, most))
    return content


def swap_head(content, rng, other):
    at = rng.choice((2, 4, 8, 16, 64))
    return other[:at] + content[at:]


def insert_zeros(content, rng):
    at = rng.randrange(len(content))
    return content[:at] + bytes(rng.choice((1, 4, 100))) + content[at + rng.choice((0, 4)) :]


def repeat_part(content, rng):
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:last] + content[first:last] * rng.choice((1, 5, 300)) + content[last:]


def damage(files, rng):
    content = rng.choice(files)
    change = rng.choice(
        (truncate, flip_bits, flip_bits, damage_head, damage_head, declare_more, insert_zeros, repeat_part, swap_head)
    )
    return change(content, rng, rng.choice(files)) if change is swap_head else change(content, rng)


def fuzz(count, seed, folder):
    """Decode damaged files; what must hold is asserted of each."""
    rng, begun, start = random.Random(seed), time.perf_counter(), peak_memory()
    files, decoded, worst, faults = list(seeds(rng)), 0, 0.0, []
    for number in range(count):
        content = damage(files, rng) if number >= len(files) else files[number]
        path = folder / f"{number}.{rng.choice(('jpg', 'png', 'tif'))}"
        path.write_bytes(content)
        shape = rng.choice(((8, 8, 3), (12, 9, 1), (40, 40, 3)))
        options = rng.choice(({}, {"resize_shorter_to": shape[0] + 4, "interpolation": "bicubic"}))
        started, before, fault = time.process_time(), peak_memory(), ""
        try:
            pixels = decode(path, shape, **options)
            decoded += 1
            if (pixels.shape, pixels.dtype) != (shape, np.uint8):
                fault = f"gives {pixels.dtype}{pixels.shape}"
        except ImageDecodeError as error:
            if str(path) not in str(error) or "\n" in str(error):
                fault = f"raises an error without its name, or of several lines: {error}"
        except Exception as error:
            fault = f"raises {error!r}"
        seconds, megabytes = time.process_time() - started, peak_memory() - before
        worst = max(worst, seconds)
        if fault or seconds > SECONDS or megabytes > MEGABYTES:
            faults.append(f"file {number} of seed {seed} {fault} in {seconds:.1f} s, with {megabytes} MB")
        path.unlink()
    print(
        f"{count} images of seed {seed}: {decoded} decoded, {len(faults)} faults, {time.perf_counter() - begun:.0f} s, "
        f"{worst:.2f} s and {peak_memory() - start} MB at most for one",
        flush=True,
    )
    print(*faults, sep="\n", flush=True)
    assert not faults


def test_decode_reads_or_names_every_damaged_file(tmp_path):
    fuzz_in_processes("tests.runs.test_fuzz_images", IMAGES, tmp_path)


def test_load_counts_and_names_every_damaged_file(tmp_path):
    from kcnn import data

    rng = random.Random(SEED)
    files = [content for content in seeds(rng) if content[4:8] != b"ftyp"]
    damaged = [truncate(rng.choice(files), rng)[:-20] for _ in range(30)]
    for number, content in enumerate([file(n) for n in range(20)] + damaged):
        path = tmp_path / "abcd"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    loaded = data.load(str(tmp_path), input_shape=(8, 8, 3), batch_size=8)
    named = {skipped.file for skipped in loaded.skipped}
    read = sum(len(split) for split in loaded.splits.values())
    assert read + len(named) == 50
    assert all(int(name[-7:-4]) >= 20 for name in named)


def file(number):
    into = io.BytesIO()
    Image.new("RGB", (9, 9), (number, 0, 255 - number)).save(into, "PNG")
    return into.getvalue()
