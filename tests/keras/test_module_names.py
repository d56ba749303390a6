"""Every module can be imported by its own name."""

import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import kcnn

MODULES = [info.name for info in pkgutil.walk_packages(kcnn.__path__, "kcnn.")]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_import_of_every_module_name_returns_the_module(name):
    import_module(name)
    scope: dict[str, object] = {}
    exec(f"import {name} as module", scope)
    assert isinstance(scope["module"], ModuleType)
    assert scope["module"].__name__ == name
