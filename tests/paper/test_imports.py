"""What imports what: no circle, no name that hides a module, and no TensorFlow where none is needed.

The order of the rooms, and what may import NumPy or Keras, is in pyproject.toml: see `lint-imports`.
"""

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
STUBS = sorted((SOURCES / "kcnn").rglob("__init__.pyi"))
OWN_LAYERS = {("kcnn_plugins.lenet", "kcnn_plugins.lenet_layers")}  # an op and its own layer need each other


def package_name(stub):
    return ".".join(stub.parent.relative_to(SOURCES).parts)


@cache
def exported_names(stub):
    """{public name: the module it comes from} of a package that exports lazily."""
    package = package_name(stub)
    names = {}
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{package}.{node.module or alias.name}"
    return names


@cache
def lazy_exports():
    return {package_name(stub): exported_names(stub) for stub in STUBS}


def imported_names(module, package):
    """Names that a module imports from a package, at its top or inside a function."""
    base = SOURCES / module.replace(".", "/")
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            yield from (alias.name for alias in node.names)


def file_imports():
    """{module: modules it imports}; a name from a package that exports lazily counts as an import of its module."""
    graph = grimp.build_graph("kcnn", "kcnn_plugins", cache_dir=None, exclude_type_checking_imports=True)
    imports = {}
    for module in graph.modules:
        targets = set(graph.find_modules_directly_imported_by(module))
        for package in targets & set(lazy_exports()):
            exports = lazy_exports()[package]
            targets |= {exports[name] for name in imported_names(module, package) if name in exports}
        imports[module] = {target for target in targets if target != module and (module, target) not in OWN_LAYERS}
    return imports


def test_imports_have_no_circle_between_files():
    imports = file_imports()
    assert "kcnn.graph.tracing" in imports["kcnn.blocks.basic"]
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("stub", STUBS, ids=package_name)
def test_public_names_hide_no_module(stub):
    package = package_name(stub)
    modules = {path.stem for path in stub.parent.glob("*.py")} | {
        path.parent.name for path in stub.parent.glob("*/*.py")
    }
    exports = exported_names(stub)
    hiding = {name for name, module in exports.items() if name in modules and module != f"{package}.{name}"}
    assert not hiding


@pytest.mark.parametrize("stub", STUBS, ids=package_name)
def test_stubs_export_names_that_exist(stub):
    for name, module in exported_names(stub).items():
        path = SOURCES / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert path.exists(), f"{name}: no module {module}"
        if not module.endswith(f".{name}"):
            stub_beside = path.with_suffix(".pyi")
            source = path.read_text() + (stub_beside.read_text() if stub_beside.exists() else "")
            assert name in source, f"{module} has no {name}"


@pytest.mark.parametrize(
    "lines",
    [
        (
            "import kcnn; kcnn.summary('googlenet'); kcnn.summary('lenet5'); kcnn.min_input_size('vgg16')",
            "kcnn.list_models(); kcnn.diff('vgg11', 'vgg13'); print(kcnn.summary('vgg11'))",
            "kcnn.trace('vgg11').with_overrides({'conv1_1.kernel': 5})._repr_svg_()",
        ),
        (
            "from kcnn.cli import app; app(['summary', 'googlenet'], standalone_mode=False)",
            "app(['list'], standalone_mode=False)",
            "app(['plot', 'googlenet', '--svg', '-'], standalone_mode=False)",
        ),
    ],
    ids=("functions", "commands"),
)
def test_trace_imports_nothing_large(lines):
    check = "import sys; assert not {'tensorflow', 'keras', 'numpy', 'pydantic'} & set(sys.modules)"
    code = "\n".join(f"{line}\n{check}, {line!r}" for line in lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_kcnn_beside_a_folder_of_that_name(tmp_path):
    (tmp_path / "kcnn").mkdir()  # of a clone, which Python takes for a package where nothing else is found before
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import kcnn; print(kcnn.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@cache
def bound_names(module):
    """The names that a module of kcnn binds, its stub and its modules included."""
    base, names = SOURCES / module.replace(".", "/"), set()
    if base.is_dir():
        names |= {path.stem for path in base.iterdir()}
    for file in (base.with_suffix(".py"), base / "__init__.py", base / "__init__.pyi"):
        for node in ast.parse(file.read_text()).body if file.exists() else ():
            if isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            else:
                names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


@pytest.mark.parametrize("folder", ["recipes", "benchmarks", "examples"])
def test_scripts_import_names_that_exist(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("kcnn."):
                assert {alias.name for alias in node.names} <= bound_names(node.module), f"{path}:{node.lineno}"
