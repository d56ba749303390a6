"""Networks of a file or module that the user names, and what a saved request may run."""

import json
import re
import sys
from dataclasses import replace

import pytest

import kcnn
from kcnn.architectures import determinism
from kcnn.search.space import Space

CODE = """
from kcnn import Architecture
from kcnn.blocks import conv
from neighbor import FILTERS

def backbone(x, *, width: float = 1.0):
    return conv(x, int(FILTERS * width), 3, name="one")

net = Architecture(
    backbone=backbone, reference="none", input_shape=(8, 8, 1), classes=3, variants={"wide": {"options": {"width": 2}}}
)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "neighbor.py").write_text("FILTERS = 4\n")
    path = tmp_path / "my_net.py"
    path.write_text(CODE)
    yield path
    for name in [name for name in sys.modules if "my_net" in name or name == "neighbor"]:
        del sys.modules[name]


def test_get_architecture_of_a_file(file, monkeypatch):
    assert kcnn.summary(f"{file}:net").params == 4 * 10 + 5 * 3
    assert kcnn.summary(f"{file}:net.wide").params == 8 * 10 + 9 * 3
    assert kcnn.summary(f"{file}:net", width=0.5).params == 2 * 10 + 3 * 3
    monkeypatch.chdir(file.parent)
    graph = kcnn.trace("my_net.py:net")
    assert graph.name == "net"
    assert str(file.parent) not in sys.path
    file.write_text(CODE.replace("int(FILTERS", "int(2 * FILTERS"))  # edited in a notebook's second window
    assert kcnn.summary("my_net.py:net").params == 8 * 10 + 9 * 3


def test_get_architecture_of_a_module(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    assert kcnn.summary("my_net:net.wide").params == 8 * 10 + 9 * 3
    assert kcnn.ModelSpec(network="my_net:net").to_json()["network"] == "my_net:net"
    package = file.parent / "my_net_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(CODE)
    assert kcnn.trace("my_net_package.nets:net").name == "net"


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("{file}:nte", LookupError, r"my_net.py: unknown network 'nte'. Did you mean 'net'\?"),
        ("{file}:net.deep", LookupError, "my_net.py: net: unknown variant 'deep'; choose from wide"),
        ("{file}:backbone", TypeError, "backbone of .*my_net.py must be a kcnn.Architecture, got function"),
        ("{file}", LookupError, "is a file; add the name of its architecture, such as '.*my_net.py:net'"),
        ("{file}x.py:net", FileNotFoundError, "file not found: .*my_net.pyx.py"),
        ("nosuch_module:net", LookupError, "unknown network 'net'"),
        ("nosuch.module:vgg11", LookupError, "distribution 'nosuch.module' does not publish 'vgg11'"),
    ],
)
def test_get_architecture_names_what_is_wrong_with_a_file(file, name, error, says):
    with pytest.raises(error, match=says):
        kcnn.get_architecture(name.format(file=file))


@pytest.mark.parametrize(
    "code", ["raise RuntimeError('boom')", "net = = 3", "import sys; sys.exit(3)", "import nothing_x"]
)
def test_get_architecture_of_a_broken_file_is_one_error(file, code):
    file.write_text(code)
    with pytest.raises(ImportError, match=r"my_net.py does not load: .*(boom|SyntaxError|exit 3|nothing_x)"):
        kcnn.get_architecture(f"{file}:net")


def test_a_request_of_a_file_has_its_checksum_and_finds_it_again(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    spec = kcnn.ModelSpec(network="my_net.py:net", classes=5)
    values = json.loads(json.dumps(spec.to_json()))
    assert values["network"] == f"{file}:net"
    monkeypatch.chdir(file.parent.parent)
    with pytest.raises(ImportError, match="which you have not run: loading a file runs no code"):
        kcnn.ModelSpec.from_json(values).trace()
    kcnn.trace(f"{file}:net")
    again = kcnn.ModelSpec.from_json(values)
    assert again.trace().outputs["logits"].shape == (5,)
    assert again.to_json() == values
    file.write_text(CODE + "\n")
    assert kcnn.ModelSpec(network=f"{file}:net").to_json()["source"] != values["source"]
    with pytest.raises(ImportError, match=r"my_net.py has changed: its checksum is \w+, recorded \w+; restore it"):
        kcnn.ModelSpec.from_json(values).trace()
    file.unlink()
    with pytest.raises(ImportError, match="file not found"):
        kcnn.ModelSpec.from_json(values).trace()


def test_a_saved_request_runs_no_code_that_the_user_has_not_run(file):
    mark = file.parent / "ran"
    file.write_text(f"open({str(mark)!r}, 'w')\n" + CODE)
    values = {"network": f"{file}:net"}
    checksum = kcnn.ModelSpec(network=f"{file}:net").definition.checksum
    for forged in (values, {**values, "source": checksum}, {**values, "source": "0" * 16}):
        spec = kcnn.ModelSpec.from_json(forged)
        assert spec.title == "net"
        with pytest.raises(ImportError):
            spec.trace()
    assert not mark.exists()


def test_space_of_an_architecture_in_a_file_has_a_json_form(file):
    architecture = kcnn.get_architecture(f"{file}:net")
    for network in (architecture, f"{file}:net"):
        space = Space(network, {"one.kernel": (1, 3)})
        values = json.loads(json.dumps(space.to_json()))
        assert values["spec"]["network"] == f"{file}:net"
        again = Space.from_json(values)
        assert again.candidate({"one.kernel": 1}).graph.spec.overrides == {"one.kernel": 1}
        assert again.to_json() == values


def test_space_of_an_architecture_without_a_file_explains_what_to_do(file):
    nameless = replace(kcnn.get_architecture(f"{file}:net"), classes=4)
    with pytest.raises(ValueError, match="define it at the top level of a Python file"):
        Space(nameless, {"one.kernel": (1, 3)}).to_json()
    assert kcnn.ModelSpec(network=nameless).to_json()["network"] == "backbone"


def test_cli_takes_a_file(file, command, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert "one" in command("summary", "my_net.py:net").stdout
    assert command("plot", "my_net.py:net.wide").stdout.startswith("net.wide.svg: ")
    assert command("diff", "my_net.py:net", "my_net.py:net.wide").returncode == 0
    assert "one.kernel" in command("search", "my_net.py:net", "--dry-run", "--choice", "one.kernel=1,3").stdout
    wrong = command("summary", "my_net.py:nte")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


def test_get_architecture_of_two_files_gives_each_its_own_neighbor(file):
    other = file.parent / "other" / "my_net.py"
    other.parent.mkdir()
    other.write_text(CODE + "# another file\n")
    (other.parent / "neighbor").mkdir()  # a package without __init__.py
    (other.parent / "neighbor" / "sizes.py").write_text("FILTERS = 64\n")
    other.write_text(CODE.replace("from neighbor import", "from neighbor.sizes import"))
    third = file.parent / "third" / "my_net.py"
    third.parent.mkdir()
    third.write_text(CODE + "# a third file\n")
    (third.parent / "neighbor.py").write_text("FILTERS = 8\n")
    filters = [kcnn.trace(f"{path}:net", top=False).features.shape[-1] for path in (file, other, third)]
    assert filters == [4, 64, 8]
    assert not {"neighbor", "neighbor.sizes"} & {*sys.modules}


def test_get_architecture_of_a_file_keeps_packages_of_an_environment_in_its_folder(file, monkeypatch):
    site = file.parent / ".venv" / "site-packages"
    site.mkdir(parents=True)
    (site / "my_net_dependency.py").write_text("")
    monkeypatch.syspath_prepend(str(site))
    file.write_text("import my_net_dependency\n" + CODE)
    kcnn.trace(f"{file}:net")
    assert "my_net_dependency" in sys.modules


def test_compare_processes_reports_a_network_that_other_processes_cannot_trace(file):
    ((name, text),) = determinism.compare_processes([f"{file}:nte"]).items()
    assert name == f"{file}:nte"
    assert re.search(r"another process cannot trace it \(exit 1\): .*unknown network 'nte'", text)
    (text,) = determinism.compare_processes(["lenet5"], seconds=0.01).values()
    assert text == "tracing it in another process takes more than 0.01 seconds"
