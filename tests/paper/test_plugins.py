"""A plugin that is broken in whatever way hurts its own names alone, and says what is wrong."""

import io
import logging
import re
import sys
import threading
import time
from importlib.metadata import version

import pytest

import kcnn
from kcnn.architectures import catalogue, doctor, plugins, registry

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


def test_load_within_leaves_standard_output_alone_when_a_hanging_import_ends(install, monkeypatch):
    install("kcnn-late", "kcnn_late", f"import time; time.sleep(1)\n{GOOD}", late="net")
    monkeypatch.setattr(catalogue, "IMPORT_TIMEOUT", 0.1)
    before = {*threading.enumerate()}
    with pytest.raises(ImportError, match="kcnn-late does not load"):
        catalogue.load_architecture("late")
    later = io.StringIO()  # what another part of the program prints to by then
    monkeypatch.setattr(sys, "stdout", later)
    (importing,) = {*threading.enumerate()} - before
    importing.join(30)
    assert not importing.is_alive()
    assert sys.stdout is later


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


def test_find_unmet_requirements_of_kcnn_are_none():
    assert version("kcnn") == kcnn.__version__
    own = next(iter(registry.discover()["vgg11"].values()))
    assert plugins.find_unmet_requirements(own.dist, only="kcnn") == []


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
