"""The names of plugins: who publishes which, what may be loaded, and how rivals are told apart."""

import pytest
from packaging.utils import canonicalize_name

import kcnn
from benchmarks.names import install as install_many
from benchmarks.names import run
from kcnn.architectures import doctor, plugins
from tests.paper.test_plugins import GOOD


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
    install_many(tmp_path)
    code = (
        "import sys, kcnn; import importlib.metadata as m; opened = []; own = m.PathDistribution.read_text\n"
        "def read(self, name): opened.append((name, self._path.name)); return own(self, name)\n"
        "m.PathDistribution.read_text = read; names = kcnn.list_models(); count = len(opened); kcnn.list_models()\n"
        "parsed = [path for name, path in opened if name == 'METADATA']\n"
        "parsed = [path for path in parsed if not path.startswith(('kcnn-', 'kcnn.'))]\n"
        "print(len([n for n in names if n.startswith('net')]), len(parsed), len(opened) - count)\n"
        "print(sorted({one.partition('.')[0] for one in sys.modules} & {'tensorflow', 'keras', 'numpy'}))"
    )
    counts, heavy = run(code, tmp_path).splitlines()
    names, parsed, later = map(int, counts.split())
    assert (names, later, heavy) == (200, 0, "[]")
    assert parsed <= 50, "of those alone that publish networks, and kcnn, which may be there as a checkout too"


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


def test_a_dotted_name_does_not_hide_the_variant_of_another(install):
    install("kcnn-rude", "kcnn_rude", GOOD, **{"googlenet.bn": "net"})
    assert kcnn.summary("googlenet.bn").params == kcnn.summary("kcnn:googlenet.bn").params > 5112
