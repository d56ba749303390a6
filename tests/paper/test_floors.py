"""Who may import whom: floors point down, and TensorFlow stays out of the paper."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = [  # from the ground up; a room imports only rooms below its own line
    {"ops", "files", "labels", "lazy", "answers", "intervals"},
    {"arithmetic"},
    {"sketch"},
    {"blocks", "measurement"},
    {"architecture"},
    {"plugins", "sources"},
    {"registry"},
    {"drawing"},
    {"diff", "doctor", "figure", "layers", "pictures", "catalogue", "runs"},
    {"augment", "scaffold", "space"},
    {"data", "network", "read", "lower"},
    {"weights"},
    {"models"},
    {"deploy", "distribute", "freeze", "inspect"},
    {"training", "sliding"},
    {"transfer", "search", "testing", "report"},
    {"cli"},
]
LAZY = {
    ("sketch", "lower"),
    ("catalogue", "models"),
    ("drawing", "read"),
}  # imports inside a function that reach up
HEAVY = {"keras", "tensorflow", "numpy", "sklearn", "matplotlib", "PIL", "safetensors", "h5py", "torch", "requests"}
PAPER = {
    *("ops", "files", "labels", "lazy", "arithmetic", "sketch", "blocks", "architecture", "registry", "sources"),
    *("measurement", "drawing", "plugins"),
    *("diff", "doctor", "figure", "scaffold", "catalogue", "__init__"),
}


def room(path):
    inside = path.relative_to(ROOT / "kcnn")
    return inside.parts[0].removesuffix(".py")


def imports(path):
    """(module, whether at module level) of every import in a file."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            if node.module == "kcnn":
                for alias in node.names:
                    yield f"kcnn.{alias.name}", id(node) in top
            else:
                yield node.module, id(node) in top


FILES = sorted((ROOT / "kcnn").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_rooms_below_it(path):
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    here = room(path)
    if here == "__init__":
        return
    assert here in floor, f"{here} is on no floor"
    for module, top in imports(path):
        parts = module.split(".")
        if parts[0] == "kcnn" and len(parts) > 1 and parts[1] in floor and parts[1] != here:
            assert floor[parts[1]] < floor[here] or (not top and (here, parts[1]) in LAZY), f"{here} imports {parts[1]}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in PAPER], ids=lambda p: p.name)
def test_the_paper_floors_never_import_what_is_heavy(path):
    assert not {module for module, _ in imports(path) if module.partition(".")[0] in HEAVY}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda p: p.name)
def test_a_plugin_stands_on_kcnn_alone_and_on_no_other_plugin(path):
    allowed = {
        "kcnn",
        "kcnn.Architecture",
        "kcnn.Layout",
        "kcnn.Weights",
        "kcnn.graph.shape_inference",
        "kcnn.blocks",
        "kcnn.graph.ops",
        "kcnn.architectures.publishers",
    }
    family = path.stem.removesuffix("_layers").removesuffix("_weights")
    for module, top in imports(path):
        if module.startswith("kcnn."):
            assert module in allowed
        if module.startswith("kcnn_plugins"):
            layers = not top and module == f"kcnn_plugins.{family}_layers"
            assert path.stem.endswith("_layers") or layers or module == f"kcnn_plugins.{family}_weights"
        if module.partition(".")[0] in HEAVY:
            assert path.stem.endswith("_layers"), "a plugin loads Keras only for the layers of its own ops"


@pytest.mark.parametrize(
    "code",
    [
        "import kcnn; kcnn.summary('googlenet'); kcnn.summary('lenet5'); kcnn.min_input_size('vgg16')",
        "import kcnn; kcnn.list_models(); kcnn.diff('vgg11', 'vgg13'); kcnn.trace('vgg11').with_overrides({'conv1_1.kernel': 5})",
        "from kcnn.cli import app; app(['describe', 'googlenet'], standalone_mode=False)",
        "from kcnn.cli import app; app(['list'], standalone_mode=False)",
        "from kcnn.cli import app; app(['draw', 'googlenet', '--svg', '-'], standalone_mode=False)",
    ],
)
def test_paper_leaves_tensorflow_keras_and_numpy_unloaded(code):
    check = "\nimport sys; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules), 'heavy'"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_public_word_stays_itself_although_a_room_has_its_name():
    code = "import kcnn, kcnn.architectures.architecture, kcnn.architectures.graph_diff; kcnn.get_architecture('vgg11'); kcnn.diff('vgg11', 'vgg13')"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("first", ["from small import Way, compare", "import small.compare; from small import compare"])
def test_a_lazy_word_stays_itself_although_its_module_has_its_name(first, tmp_path):
    package = tmp_path / "small"
    package.mkdir()
    lazy = "__getattr__, __dir__ = words(__name__, {'compare': ('Way', 'compare')}, globals())"
    (package / "__init__.py").write_text(f"from kcnn.lazy import words\n{lazy}\n")
    (package / "compare.py").write_text("class Way: ...\ndef compare(): ...\n")
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {first}; compare()"], check=True
    )
