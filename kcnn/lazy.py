"""Words of a package, each imported from its module when it is first used."""

import sys
from collections.abc import Callable, Container, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def words(
    package: str, homes: Mapping[str, Iterable[str]], names: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package: `homes` are modules and the words of each, `names` its globals().

    A module is the package's own, or a whole path.
    """
    home = {word: module for module, own in homes.items() for word in own}

    def found(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = home[name] if "." in home[name] else f"{package}.{home[name]}"
        names[name] = value = getattr(import_module(module), name)
        return value

    keep(package, home)
    return found, lambda: sorted({*names, *home})


def keep(package: str, words: Container[str]) -> None:
    """Words of a package stay what they are although modules in it have their names, which importing would bind."""

    class Package(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in words and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[package].__class__ = Package
