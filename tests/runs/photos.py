"""Images of one color, and the sizes of splits, for tests of data."""

from PIL import Image


def save_image(path, color, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def sizes(found):
    return {word: len(split) for word, split in found.splits.items()}
