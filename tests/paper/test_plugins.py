"""A plugin that is broken in whatever way hurts its own names alone, and says what is wrong."""

import logging
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

import kcnn
from benchmarks.names import install
from kcnn.architectures import catalogue, determinism, doctor, plugins, registry

GOOD = """
from kcnn import Architecture
from kcnn.blocks import conv
facts = {"reference": "none", "params": 4 * 28 + 5 * 1000, "map_sizes": (224,)}
net = Architecture(backbone=lambda x: conv(x, 4, name="one"), **facts)
"""
HEAD = b"Metadata-Version: 2.1\nName: kcnn-odd\n"
BROKEN = {  # how: its code, and what is said of it
    "raises": (
        "raise RuntimeError('boom [/usr/lib/libfoo.so]\\nand\\nmore')",
        "RuntimeError: boom [/usr/lib/libfoo.so] and",
    ),
    "silent": ("class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "does not load: E"),
    "stops": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "lazy": ("def __getattr__(name): raise SystemExit(4)", "its import exits the interpreter (exit 4)"),
    "fields": (GOOD.replace('"reference": "none"', '"reference": None'), "reference must be a str, got None"),
    "lacks": ("import surely_not_installed", "No module named 'surely_not_installed'"),
    "wrong": ("net = 3", "must be a kcnn.Architecture, got int"),
    "other": (GOOD.replace("net =", "web ="), "has no attribute 'net'"),
    "exits": ("import sys; sys.exit(3)", "its import exits the interpreter (exit 3)"),
    "recurs": ("def f(): f()\nf()", "RecursionError"),
    "syntax": ("net = = 3", "SyntaxError"),
}


@pytest.fixture
def broken(install):
    for how, (code, _) in BROKEN.items():
        install(f"kcnn-{how}", f"kcnn_{how}", code, **{f"net_{how}": "net"})
    install("kcnn-good", "kcnn_good", GOOD, net_good="net")


@pytest.mark.parametrize("how", BROKEN)
def test_load_plugin_isolates_a_broken_plugin(broken, how):
    if how == "stops":
        plugins.load_within(
            5, registry.find_entry_point("net_stops")[0], "kcnn-stops"
        )  # as in a list; a person may stop one alone
    with pytest.raises((ImportError, TypeError)) as error:
        kcnn.get_architecture(f"net_{how}")
    assert BROKEN[how][1] in str(error.value)
    assert f"kcnn-{how}" in str(error.value)
    assert kcnn.summary("net_good").params == 5112
    assert kcnn.summary("vgg11").params == 132_863_336


def test_cli_list_reports_broken_plugins_and_shows_the_rest(broken, command):
    said = command("list", "net_*", "--weights")
    assert "net_good" in said.stdout
    for how, (_, words) in BROKEN.items():
        (line,) = (line for line in said.stderr.splitlines() if line.startswith(f"net_{how}: "))
        assert words in line


def test_cli_list_without_filters_runs_no_foreign_code(install, tmp_path, command):
    mark = tmp_path / "ran"
    install("kcnn-nosy", "kcnn_nosy", f"open({str(mark)!r}, 'w')\n{GOOD}", nosy="net")
    for words in (("list",), ("plugins",), ("list", "vgg"), ("summary", "vgg11"), ("verify", "lenet5")):
        said = command(*words)
        assert said.returncode == 0, said.stderr
        assert not mark.exists(), words
    assert "nosy" in command("list").stdout
    command("list", "nosy")
    assert mark.exists(), "it was asked for"


def test_load_within_gives_up_a_hanging_import(install, monkeypatch):
    install("kcnn-slow", "kcnn_slow", f"import time; time.sleep(60)\n{GOOD}", slow="net")
    monkeypatch.setattr(catalogue, "IMPORT_TIMEOUT", 0.3)
    out, begun = sys.stdout, time.monotonic()
    names = catalogue.expand_names("*")
    assert time.monotonic() - begun < 30
    assert {"slow", "resnet50.keras"} <= {*names}
    assert sys.stdout is out
    with pytest.raises(ImportError, match=r"kcnn-slow does not load: its import takes more than 0.3 seconds"):
        kcnn.get_architecture("slow")


def test_refresh_plugins_does_not_wait_again_for_a_hanging_import(install, monkeypatch):
    install("kcnn-slow", "kcnn_slow", f"import time; time.sleep(20)\n{GOOD}", slow="net")
    monkeypatch.setattr(catalogue, "IMPORT_TIMEOUT", 0.3)
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(ImportError, match="kcnn-slow does not load"):
            catalogue.load_architecture("slow")
        kcnn.refresh_plugins()
    assert time.monotonic() - begun < 10


def test_load_plugin_runs_failing_code_once(install, tmp_path):
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('.')\nraise RuntimeError"
    install("kcnn-twice", "kcnn_twice", code, one_of_two="net", two_of_two="net")
    catalogue.expand_names("*_of_two")
    for name in ("one_of_two", "two_of_two", "one_of_two"):
        with pytest.raises(ImportError):
            kcnn.get_architecture(name)
    assert count.read_text() == "."


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("entry_points.txt", b"[kcnn.architectures]\nno equals sign\n"),
        ("entry_points.txt", b"[kcnn.architectures]\nx = y:z\n\xff\xfe"),
        ("METADATA", b""),
        ("METADATA", HEAD),
        (
            "METADATA",
            b"Metadata-Version: 2.1\nName: kcnn-odd\nVersion: 1\nRequires-Dist: foo; python_version ~= 'abc'\n",
        ),
        ("METADATA", b"Metadata-Version: 2.1\nName: kcnn-odd\nVersion: 1\nRequires-Dist: ???\n"),
    ],
)
def test_discover_skips_unreadable_metadata(install, tmp_path, command, monkeypatch, file, content):
    install("kcnn-odd", "kcnn_odd", GOOD, oddity="net")
    (tmp_path / "kcnn_odd-1.0.dist-info" / file).write_bytes(content)
    kcnn.refresh_plugins()
    for words in (("list", "vgg11"), ("plugins",), ("summary", "vgg11")):
        said = command(*words)
        assert said.returncode == 0, said.stderr
    monkeypatch.setenv("KCNN_PLUGINS", "none")
    assert command("list", "vgg11").returncode == 0


def test_load_plugin_isolates_printing_and_logging(install, capsys):
    code = "import logging; print('hello'); logging.basicConfig(level=0); logging.disable(50)\n"
    code += "import logging.config; logging.config.dictConfig({'version': 1})\n"
    install("kcnn-loud", "kcnn_loud", code + GOOD, loud="net")
    root, mine = logging.getLogger(), logging.getLogger("mine")
    before = root.level, [*root.handlers], root.manager.disable
    assert kcnn.get_architecture("loud").params == 5112
    assert (root.level, [*root.handlers], root.manager.disable) == before
    assert not mine.disabled
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ("kcnn>=99", f"requires kcnn>=99, found {kcnn.__version__}"),
        ("kcnn<0.1", f"requires kcnn<0.1, found {kcnn.__version__}"),
    ],
)
def test_load_plugin_checks_the_required_kcnn_before_it_runs(install, tmp_path, needs, says):
    mark = tmp_path / "ran"
    install("kcnn-late", "kcnn_late", f"open({str(mark)!r}, 'w')\n{GOOD}", needs=[needs], late="net")
    with pytest.raises(ImportError) as error:
        kcnn.get_architecture("late")
    assert says in str(error.value)
    assert not mark.exists()
    (one,) = (found for found in doctor.list_plugins() if found.distribution == "kcnn-late")
    assert (one.state, one.reason) == ("unmet requirements", says)


def test_load_plugin_accepts_this_kcnn(install):
    install("kcnn-fits", "kcnn_fits", GOOD, needs=[f"kcnn>={kcnn.__version__}", "numpy", "x; extra == 'y'"], fits="net")
    assert kcnn.get_architecture("fits").params == 5112


def test_load_plugin_names_a_missing_dependency(install):
    install("kcnn-needy", "kcnn_needy", "import surely_not_there", needs=["surely-not-there>=2"], needy="net")
    wanted = "requires surely-not-there, which is not installed: pip install 'surely-not-there>=2'"
    with pytest.raises(ImportError, match=wanted):
        kcnn.get_architecture("needy")
    (one,) = (found for found in doctor.list_plugins() if found.distribution == "kcnn-needy")
    assert (one.state, one.reason) == ("unmet requirements", wanted)


@pytest.mark.every
def test_cli_plugins_doctor_loads_each_plugin_in_its_own_process(broken, install, command):
    install("kcnn-gone", "kcnn_gone", "import os; os._exit(7)", gone="net")
    install("kcnn-slow", "kcnn_slow", "import time; time.sleep(60)", slow="net")
    install("kcnn-chatty", "kcnn_chatty", f"import os\nprint('{{}}')\nos.write(1, b'\\xff')\n{GOOD}", chatty="net")
    sleeper = "import subprocess, threading, time\nsubprocess.Popen(['sleep', '60'])\n"
    sleeper += "threading.Thread(target=time.sleep, args=(60,)).start()\n"
    install("kcnn-parent", "kcnn_parent", sleeper + GOOD, parent="net")
    said = command("plugins", "--doctor", "--timeout", "4")
    assert said.returncode == 1
    rows = {line.split()[0]: line for line in said.stdout.splitlines()[1:] if line.strip()}
    for how, (_, words) in BROKEN.items():
        assert " broken " in rows[f"kcnn-{how}"]
        assert words.removeprefix("does not load: ") in rows[f"kcnn-{how}"]
    assert "its import ends the process (exit 7)" in rows["kcnn-gone"]
    assert " timeout " in rows["kcnn-slow"]
    assert re.search(r"^loading \d+ plugins, each for at most 4 seconds$", said.stderr, re.MULTILINE)  # at once
    assert all(rows[name].endswith(" ok") for name in ("kcnn", "kcnn-good", "kcnn-chatty", "kcnn-parent"))


def test_plugins_with_one_name_are_addressed_by_distribution(install):
    install("kcnn-one", "kcnn_one", GOOD, twin="net")
    install("kcnn-two", "kcnn_two", GOOD.replace("4, name", "8, name"), twin="net")
    with pytest.raises(ValueError, match='published by kcnn-one and kcnn-two; use "kcnn-one:twin"'):
        kcnn.trace("twin")
    assert kcnn.summary("kcnn-one:twin").params < kcnn.summary("kcnn-two:twin").params
    reasons = {one.distribution: one.reason for one in doctor.list_plugins() if one.state == "name conflict"}
    assert reasons["kcnn-one"] == 'twin also published by kcnn-two; use "kcnn-one:twin"'


@pytest.mark.parametrize("limit", ["none", "", "kcnn-other", "KCNN_Allowed , other"])
def test_kcnn_plugins_variable_restricts_plugins(install, monkeypatch, limit):
    install("kcnn-allowed", "kcnn_allowed", GOOD, allowed="net")
    monkeypatch.setenv("KCNN_PLUGINS", limit)
    may = "llowed" in limit
    assert ("allowed" in kcnn.list_models()) is may
    assert "vgg11" in kcnn.list_models()
    if may:
        assert kcnn.get_architecture("allowed").params == 5112
        return
    for name in ("allowed", "kcnn-allowed:allowed"):
        with pytest.raises(ImportError, match=r"published by kcnn-allowed, which is not allowed by KCNN_PLUGINS="):
            kcnn.get_architecture(name)
    (one,) = (found for found in doctor.list_plugins() if found.distribution == "kcnn-allowed")
    assert one.state == "blocked"


def test_render_catalogue_returns_the_page_of_the_documentation_with_builtin_networks_only(install, tmp_path):
    mark = tmp_path / "ran"
    install("kcnn-rival", "rival_plugin", f"open({str(mark)!r}, 'w')\n{GOOD}", vgg11="net", alone="net")
    page = Path(__file__).parents[2] / "docs" / "catalogue.md"
    assert page.read_text() == catalogue.render_catalogue(), "run `make catalogue` and commit docs/catalogue.md"
    assert not mark.exists()


def test_kcnn_plugins_variable_hides_a_rival(install, monkeypatch, command):
    install("kcnn-rival", "rival_plugin", GOOD, vgg11="net")
    monkeypatch.setenv("KCNN_PLUGINS", "none")
    assert kcnn.summary("vgg11").params == 132_863_336
    (line,) = (line for line in command("list", "vgg11").stdout.splitlines() if line.startswith("vgg11 "))
    assert "132,863,336" in line


def test_refresh_plugins_finds_later_installations(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "later" not in kcnn.list_models()
    (tmp_path / "kcnn_later.py").write_text(GOOD)
    info = tmp_path / "kcnn_later-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kcnn-later\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kcnn.architectures]\nlater = kcnn_later:net\n")
    assert "later" not in kcnn.list_models()
    kcnn.refresh_plugins()
    assert kcnn.summary("later").params == 5112
    monkeypatch.undo()
    kcnn.refresh_plugins()
    assert "later" not in kcnn.list_models()


def test_list_models_reads_metadata_once(tmp_path):
    """How long that takes is in benchmarks/names.py; here it is counted what is read."""
    install(tmp_path)
    code = (
        "import sys, kcnn; import importlib.metadata as m; opened = []; own = m.PathDistribution.read_text\n"
        "def read(self, name): opened.append((name, self._path.name)); return own(self, name)\n"
        "m.PathDistribution.read_text = read; names = kcnn.list_models(); count = len(opened); kcnn.list_models()\n"
        "parsed = [path for name, path in opened if name == 'METADATA']\n"
        "parsed = [path for path in parsed if not path.startswith(('kcnn-', 'kcnn.'))]\n"
        "print(len([n for n in names if n.startswith('net')]), len(parsed), len(opened) - count)\n"
        "print(sorted({one.partition('.')[0] for one in sys.modules} & {'tensorflow', 'keras', 'numpy'}))"
    )
    counts, heavy = run(code, path=tmp_path).splitlines()
    names, parsed, later = map(int, counts.split())
    assert (names, later, heavy) == (200, 0, "[]")
    assert parsed <= 50, "of those alone that publish networks, and kcnn, which may be there as a checkout too"


def run(code, path):
    there = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": there},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cli_verify_path_checks_a_source_folder(tmp_path, command, monkeypatch):
    monkeypatch.setattr(determinism, "HASH_SEEDS", ("0",))  # of processes, which other tests compare
    (tmp_path / "kcnn_draft.py").write_text(GOOD.replace("4 * 28", "4 * 2_9"))
    project = '[project]\nname = "kcnn-draft"\nversion = "0.1"\ndependencies = [{}]\n'
    points = '[project.entry-points."kcnn.architectures"]\ndraft = "kcnn_draft:net"\n'
    (tmp_path / "pyproject.toml").write_text(project.format("") + points)
    said = command("verify", "--path", str(tmp_path))
    assert said.returncode == 1
    assert "does not declare which version of kcnn it requires" in said.stderr
    assert "params are 5,112, declared 5,116" in said.stdout
    (tmp_path / "kcnn_draft.py").write_text(GOOD)
    (tmp_path / "pyproject.toml").write_text(project.format('"kcnn>=0.1"') + points)
    said = command("verify", "--path", str(tmp_path))
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 of 1 are as declared" in said.stdout
    said = command("verify", "nosuch", "--path", str(tmp_path))
    assert said.returncode == 2
    assert "kcnn-draft: unknown network 'nosuch'; choose from draft" in said.stderr
    (tmp_path / "pyproject.toml").write_text(project.format(""))
    assert "publishes no architecture" in command("verify", "--path", str(tmp_path)).stderr
    (tmp_path / "pyproject.toml").unlink()
    assert "has no pyproject.toml" in command("verify", "--path", str(tmp_path)).stderr


def test_find_unmet_requirements_of_kcnn_are_none():
    assert version("kcnn") == kcnn.__version__
    own = next(iter(registry.discover()["vgg11"].values()))
    assert plugins.find_unmet_requirements(own.dist, only="kcnn") == []


@pytest.mark.parametrize("written", ["kcnn_mynet", "KCNN.mynet", "kcnn--mynet"])
def test_distributions_are_compared_by_normalized_names(install, monkeypatch, written):
    assert plugins.normalize_name(written) == canonicalize_name(written) == "kcnn-mynet"
    install(written, "kcnn_mynet", GOOD, needs=["KCNN>=0.1"], mynet="net")
    (one,) = (found for found in doctor.list_plugins() if "mynet" in found.names)
    assert (one.distribution, one.state) == ("kcnn-mynet", "ready")
    for prefix in ("kcnn-mynet", "kcnn_mynet", "KCNN-MyNet"):
        assert kcnn.summary(f"{prefix}:mynet").params == 5112
        assert kcnn.ModelSpec(network=f"{prefix}:mynet").network == "kcnn-mynet:mynet"  # or a run would not resume
    for limit in ("kcnn_mynet", "kcnn-mynet"):
        monkeypatch.setenv("KCNN_PLUGINS", limit)
        assert kcnn.summary("mynet").params == 5112
    assert not list(doctor.check_distribution("kcnn-mynet", ["mynet"]))


def test_a_distribution_under_both_spellings_is_no_conflict(install, tmp_path):
    install("kcnn-mynet", "kcnn_mynet", GOOD, mynet="net")
    old = tmp_path / "KCNN_mynet-0.9.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: KCNN_mynet\nVersion: 0.9\n")
    (old / "entry_points.txt").write_text("[kcnn.architectures]\nmynet = kcnn_mynet:net\n")
    kcnn.refresh_plugins()
    assert kcnn.summary("mynet").params == 5112
    (one,) = (found for found in doctor.list_plugins() if "mynet" in found.names)
    assert one.state == "ready"


OWN_OP = """
import kcnn
from kcnn.blocks import apply
class Identity:
    def shape(self, x): return x
net = kcnn.Architecture(backbone=lambda x: apply(Identity(), x, name="same"), reference="none")
"""
UNUSABLE = {  # how: its code, the name that it publishes, and what the doctor says
    "dotted": (GOOD, "my.net", "invalid network name 'my.net': use lowercase letters, digits and _"),
    "owned": (GOOD, "a:net", "invalid network name 'a:net': use lowercase letters, digits and _"),
    "point": (GOOD, "spaced", "its entry point must be \"module:attribute\", got 'no module'"),
    "shapes": (GOOD.replace("conv(x, 4", "conv(x, -4"), "misshaped", "filters must be a positive integer"),
    "raising": (GOOD.replace('conv(x, 4, name="one")', "[][1]"), "raising", "IndexError"),
    "slashed": (
        GOOD.replace('name="one"', 'name="a/one"'),
        "slashed",
        "a layer name must be of letters, digits, _, - and dots",
    ),
    "bare": (OWN_OP, "bare", "layer 'same': Identity has no method layer(name), which returns its Keras layer"),
    "variant": (GOOD.replace('"map_sizes": ', '"variants": {"v": {"colour": 1}}, "map_sizes": '), "net_v", "colour"),
}


@pytest.mark.parametrize("how", UNUSABLE)
def test_diagnose_calls_nothing_ok_that_cannot_be_built_by_name(install, tmp_path, how):
    code, name, says = UNUSABLE[how]
    install(f"kcnn-{how}", f"kcnn_{how}", code, **{name: "net"})
    if how == "point":
        (tmp_path / "kcnn_point-1.0.dist-info" / "entry_points.txt").write_text(
            "[kcnn.architectures]\nspaced = no module\n"
        )
        kcnn.refresh_plugins()
    (reason,) = doctor.find_errors(f"kcnn-{how}", [name]).values()
    assert says in reason
    if how in ("dotted", "shapes"):
        (one,) = (found for found in doctor.list_plugins() if found.distribution == f"kcnn-{how}")
        result = doctor.diagnose(one)
        assert (result.state, says in result.reason) == ("broken", True), result
    assert ("my.net" in kcnn.list_models(), "a:net" in kcnn.list_models()) == (False, False)
    if how == "bare":
        return  # it can be traced, only not built
    with pytest.raises((ImportError, ValueError, TypeError, LookupError)):
        kcnn.trace(f"kcnn-{how}:{name}" + (".v" if how == "variant" else ""))


def test_a_dotted_name_does_not_hide_the_variant_of_another(install):
    install("kcnn-rude", "kcnn_rude", GOOD, **{"googlenet.bn": "net"})
    assert kcnn.summary("googlenet.bn").params == kcnn.summary("kcnn:googlenet.bn").params > 5112


HEADER = '[project]\nname = "kcnn-draft"\nversion = "0.1"\ndependencies = ["kcnn>=0.1"]\n'
POINTS = '[project.entry-points."kcnn.architectures"]\ndraft = "kcnn_draft:net"\n'
ODD_PROJECTS = {  # what is odd: the file, and what the error says
    "not TOML": ("name = = 3", "is not valid TOML"),
    "not text": (b"\xff\xfe\x00", "is not valid TOML"),
    "nested": (f"x = {'[' * 5000}{']' * 5000}", "is not valid TOML"),
    "huge": ("#" * 2_000_000, "2,000,000 bytes; expected at most 1,048,576"),
    "no project": ("x = 1", "has no project.name"),
    "a number for the project": ("project = 5", "project must be a table, got 5"),
    "no name": (HEADER.replace('name = "kcnn-draft"\n', "") + POINTS, "has no project.name"),
    "a number for the name": (HEADER.replace('"kcnn-draft"', "5") + POINTS, "name must be a string, got 5"),
    "a path for the name": (HEADER.replace("kcnn-draft", "../escaped") + POINTS, "'../escaped' is invalid for 'name'"),
    "an absolute name": (HEADER.replace("kcnn-draft", "{root}/x") + POINTS, "is invalid for 'name'"),
    "the name of kcnn": (HEADER.replace('"kcnn-draft"', '"KCNN"') + POINTS, "'KCNN' is that of kcnn itself"),
    "two lines for the name": (HEADER.replace("kcnn-draft", "a\\nVersion: 3") + POINTS, "is invalid for 'name'"),
    "a path for the version": (HEADER.replace('"0.1"', '"1/../../x"') + POINTS, "is invalid for 'version'"),
    "no version": (HEADER.replace('version = "0.1"\n', "") + POINTS, 'neither a project.version nor "version" in'),
    "a text of requirements": (HEADER.replace('["kcnn>=0.1"]', '"kcnn"') + POINTS, "dependencies must be a list"),
    "numbers of requirements": (HEADER.replace('["kcnn>=0.1"]', "[1]") + POINTS, "must be a list of strings, got [1]"),
    "a bad requirement": (HEADER.replace("kcnn>=0.1", "???") + POINTS, "'???' is invalid for 'requires-dist'"),
    "no points": (HEADER, "publishes no architecture"),
    "an empty table": (HEADER + '[project.entry-points."kcnn.architectures"]', "publishes no architecture"),
    "a list of points": (HEADER + "entry-points = []", "entry-points must be a table, got []"),
    "a text of points": (HEADER + '[project.entry-points]\n"kcnn.architectures" = "x"', "must be a table, got 'x'"),
    "a number for a target": (HEADER + POINTS.replace('"kcnn_draft:net"', "3"), 'must be "module:attribute", got 3'),
    "a sentence for a target": (HEADER + POINTS.replace("kcnn_draft:net", "no module"), "got 'no module'"),
    "two lines for a target": (
        HEADER + POINTS.replace("kcnn_draft:net", "a:b\\nc = d:e"),
        'must be "module:attribute"',
    ),
    "an equals sign in a name": (HEADER + POINTS.replace("draft =", '"a = b:c" ='), "invalid network name 'a = b:c'"),
}


@pytest.mark.parametrize("odd", ODD_PROJECTS)
def test_cli_verify_path_refuses_an_odd_pyproject_in_one_line(tmp_path, command, odd):
    text, says = ODD_PROJECTS[odd]
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "kcnn_draft.py").write_text(GOOD)
    (folder / "pyproject.toml").write_bytes(
        text if isinstance(text, bytes) else text.replace("{root}", str(tmp_path)).encode()
    )
    result = command("verify", "--path", str(folder))
    assert result.returncode == 2
    assert str(folder / "pyproject.toml") in result.stderr
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["plugin"]
