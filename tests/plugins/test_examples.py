"""Example plugins are installed, and their networks work like those of kcnn."""

import pytest

from tests.plugins.conftest import ROOT

EXAMPLES = ROOT / "examples"
KCNN = [  # distribution, a network, options that make it small, the package
    pytest.param("kcnn-ownop", "eca_resnet20", ("--model-option", "units=1"), id="ownop"),
    pytest.param("kcnn-kerasonly", "patchmixer", ("--model-option", "width=16"), id="kerasonly"),
    pytest.param("kcnn-allcnn", "all_cnn_c", ("--model-option", "width=0.25"), id="allcnn"),
]
SMALL = ("--data", "digits", "--input-size", "32x32x1")


@pytest.mark.every
@pytest.mark.parametrize(("distribution", "network", "smaller"), KCNN)
def test_plugin_works_after_install_and_is_gone_after_uninstall(environment, tmp_path, distribution, network, smaller):
    assert network not in environment.kcnn("list")
    environment.install(EXAMPLES / distribution)
    assert network in environment.kcnn("list")
    assert f"{distribution} " in environment.kcnn("plugins")
    assert "are as declared" in environment.kcnn("verify", network)
    few = ("--epochs", "1", *SMALL, *smaller)
    environment.kcnn("train", network, "--out", "run", *few, cwd=tmp_path)
    environment.kcnn("search", network, "--trials", "2", "--final-seeds", "0", "--out", "search", *few, cwd=tmp_path)
    assert (tmp_path / "search" / "trials.csv").read_text().count("\n") == 3
    pretrained = ("--weights", "run/model.keras", "--head-epochs", "1", "--out", "tuned")
    environment.kcnn("transfer", "--network", network, *pretrained, *few, cwd=tmp_path)
    assert (tmp_path / "tuned" / "phone.tflite").stat().st_size > 1000
    assert "litert" in environment.kcnn("export", "run", cwd=tmp_path)
    environment.run(
        "-c", f"import kcnn; kcnn.optimize_for_inference(kcnn.load_model({str(tmp_path / 'run' / 'model.keras')!r}))"
    )
    environment.uninstall(distribution)
    assert network not in environment.kcnn("list")
    assert f"unknown network '{network}'" in environment.kcnn("summary", network, code=2)
    assert "which is not installed" in environment.run(
        "-c", f"import kcnn; kcnn.load_model({str(tmp_path / 'run' / 'model.keras')!r})", code=1
    )


@pytest.mark.every
@pytest.mark.parametrize("distribution", ["kcnn-ownop", "kcnn-kerasonly", "kcnn-allcnn"])
def test_plugin_passes_its_own_tests(environment, distribution):
    copy = environment.install(EXAMPLES / distribution)
    output = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / "tests"))
    assert " passed" in output
    environment.uninstall(distribution)


def test_new_plugin_passes_its_own_tests(environment, tmp_path):
    output = environment.kcnn("new-plugin", "my_net", cwd=tmp_path)
    assert "created kcnn-my-net" in output
    folder = tmp_path / "kcnn-my-net"
    assert "1 of 1 are as declared" in environment.kcnn("verify", "--path", str(folder))
    assert "unknown network 'my_net'" in environment.kcnn("summary", "my_net", code=2)
    copy = environment.install(folder)
    assert " passed" in environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / "tests"))
    assert "my_net" in environment.kcnn("list")
    environment.uninstall("kcnn-my-net")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My Net", "lowercase letters"),
        ("googlenet", "already published by kcnn"),
        ("9net", "lowercase letters"),
        ("lambda", "lowercase letters"),
        ("my_", "lowercase letters"),
        ("plugins", "reserved"),
        ("conv", "reserved"),
    ],
)
def test_new_plugin_refuses_a_name(environment, tmp_path, name, message):
    assert message in environment.kcnn("new-plugin", name, cwd=tmp_path, code=2)
    assert not list(tmp_path.iterdir())


def test_new_plugin_overwrites_nothing(environment, tmp_path):
    (tmp_path / "kcnn-mine").mkdir()
    assert "exists already" in environment.kcnn("new-plugin", "mine", cwd=tmp_path, code=2)
    assert not list((tmp_path / "kcnn-mine").iterdir())
