"""Names of classes that published weights know."""

from functools import cache
from importlib.resources import files


@cache
def _imagenet() -> tuple[str, ...]:
    text = files("kcnn.architectures").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def load_class_names(classes: str | tuple[str, ...]) -> list[str]:
    """The names of a list's classes, in order: "imagenet" (the 1,000 of ILSVRC 2012), or names as they are."""
    if not isinstance(classes, str):
        return list(classes)
    if classes != "imagenet":
        raise ValueError(f'class names are a list of them or "imagenet", not {classes!r}')
    return list(_imagenet())
