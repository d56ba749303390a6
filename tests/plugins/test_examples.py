"""Distributions of others are installed for real, and their networks are like kcnn's own."""

import pytest

from tests.plugins.conftest import ROOT

EXAMPLES = ROOT / "examples"
KCNN = [  # distribution, a network, options that make it small, the package
    pytest.param("kcnn-ownop", "eca_resnet20", ("--set", "units=1"), id="ownop"),
    pytest.param("kcnn-kerasonly", "patchmixer", ("--set", "width=16"), id="kerasonly", marks=pytest.mark.every),
    pytest.param("kcnn-densenet", "densenet121", ("--set", "layers=2,2,2,2"), id="densenet", marks=pytest.mark.every),
]
SMALL = ("--data", "digits", "--input", "32x32x1")


@pytest.mark.parametrize(("distribution", "network", "smaller"), KCNN)
def test_a_plugin_does_everything_once_it_is_installed_and_is_gone_once_it_is_removed(
    place, tmp_path, distribution, network, smaller
):
    assert network not in place.kcnn("list")
    place.install(EXAMPLES / distribution)
    assert network in place.kcnn("list")
    assert f"{distribution} " in place.kcnn("plugins")
    assert "are as declared" in place.kcnn("verify", network)
    few = ("--epochs", "1", *SMALL, *smaller)
    place.kcnn("train", network, "--out", "run", *few, cwd=tmp_path)
    place.kcnn("search", network, "--trials", "2", "--seeds", "0", "--out", "search", *few, cwd=tmp_path)
    assert (tmp_path / "search" / "trials.csv").read_text().count("\n") == 3
    moved = ("--weights", "run/model.keras", "--head-epochs", "1", "--out", "moved")
    place.kcnn("transfer", "--network", network, *moved, *few, cwd=tmp_path)
    assert (tmp_path / "moved" / "phone.tflite").stat().st_size > 1000
    assert "litert" in place.kcnn("export", "run", cwd=tmp_path)
    place.run("-c", f"import kcnn; kcnn.optimize_for_inference(kcnn.load({str(tmp_path / 'run' / 'model.keras')!r}))")
    place.uninstall(distribution)
    assert network not in place.kcnn("list")
    assert f"no architecture is named '{network}'" in place.kcnn("describe", network, code=2)
    assert "which is not installed" in place.run(
        "-c", f"import kcnn; kcnn.load({str(tmp_path / 'run' / 'model.keras')!r})", code=1
    )


@pytest.mark.every
@pytest.mark.parametrize("distribution", ["kcnn-ownop", "kcnn-kerasonly", "kcnn-densenet"])
def test_the_plugins_own_tests_pass(place, distribution):
    copy = place.install(EXAMPLES / distribution)
    said = place.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / "tests"))
    assert " passed" in said
    place.uninstall(distribution)


def test_a_new_plugin_passes_its_own_tests_at_once(place, tmp_path):
    said = place.kcnn("new-plugin", "my_net", cwd=tmp_path)
    assert "kcnn-my-net is written" in said
    folder = tmp_path / "kcnn-my-net"
    assert "1 of 1 are as declared" in place.kcnn("verify", "--path", str(folder))
    assert "no architecture" in place.kcnn("describe", "my_net", code=2)
    copy = place.install(folder)
    assert " passed" in place.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / "tests"))
    assert "my_net" in place.kcnn("list")
    place.uninstall("kcnn-my-net")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My Net", "small letters"),
        ("googlenet", "published by kcnn"),
        ("9net", "small letters"),
        ("lambda", "small letters"),
        ("my_", "small letters"),
        ("plugins", "own code"),
        ("conv", "own code"),
    ],
)
def test_a_name_that_cannot_be_is_refused(place, tmp_path, name, says):
    assert says in place.kcnn("new-plugin", name, cwd=tmp_path, code=2)
    assert not list(tmp_path.iterdir())


def test_a_new_plugin_overwrites_nothing(place, tmp_path):
    (tmp_path / "kcnn-mine").mkdir()
    assert "is there already" in place.kcnn("new-plugin", "mine", cwd=tmp_path, code=2)
    assert not list((tmp_path / "kcnn-mine").iterdir())
