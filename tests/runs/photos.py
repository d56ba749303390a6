"""Pictures of one colour, and how data was split: what tests of data share."""

from PIL import Image


def picture(path, color, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def sizes(found):
    return {word: len(split) for word, split in found.splits.items()}
