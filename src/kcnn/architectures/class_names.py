"""Class names of pretrained weights."""

from functools import cache
from importlib.resources import files

from kcnn.graph.names import unknown


@cache
def _imagenet() -> tuple[str, ...]:
    text = files("kcnn.architectures").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def load_class_names(classes: str | tuple[str, ...]) -> list[str]:
    """Return class names in order.

    Args:
        classes: "imagenet" (the 1,000 classes of ILSVRC 2012), or the names themselves.

    Returns:
        The names.

    Raises:
        UnknownNameError: There is no such list.
    """
    if not isinstance(classes, str):
        return list(classes)
    if classes != "imagenet":
        raise unknown("list of class names", classes, ["imagenet"])
    return list(_imagenet())
