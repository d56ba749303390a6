"""The commands that need no TensorFlow, as a person types them."""

import json
import sys
from types import SimpleNamespace

import pytest

from kcnn.cli import main


@pytest.fixture
def kcnn(monkeypatch, capsys):
    """Run `kcnn` with words, as its entry point does, and give what it printed and its exit code."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kcnn", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=printed.out, stderr=printed.err)

    return run


def test_list_shows_every_network_and_its_cost(kcnn):
    done = kcnn("list")
    assert done.returncode == 0
    assert "6,998,552" in done.stdout
    assert "resnet152" in done.stdout


def test_list_keeps_to_a_pattern_and_limits(kcnn):
    done = kcnn("list", "*net_v?", "--max-params", "5M", "--max-macs", "400M", "--min-input", "20")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()[1:] if line[:1].isalpha()]
    assert names == ["mobilenet_v2"]


def test_list_of_nothing_says_so(kcnn):
    done = kcnn("list", "--max-params", "3")
    assert done.returncode == 2
    assert "none of the" in done.stderr


def test_describe_gives_layers_totals_and_addresses(kcnn):
    done = kcnn("describe", "googlenet", "--input", "96x96x1")
    assert done.returncode == 0
    for word in ("inception_4a_5x5_reduce", "arXiv:1409.4842", "96x96x1", "googlenet.torchvision", "stem.{"):
        assert word in done.stdout


def test_describe_as_json_is_json_with_every_layer(kcnn):
    done = kcnn("describe", "mobilenet_v2", "--set", "width=0.5", "--json")
    found = json.loads(done.stdout)
    assert found["params"] == 1_968_680
    assert found["layers"][1] | {"offset": None} == {
        "name": "rescale",
        "shape": [224, 224, 3],
        "params": 0,
        "state": 0,
        "macs": 0,
        "field": [1, 1],
        "stride": [1, 1],
        "offset": None,
        "op": {"op": "Rescale", "scale": pytest.approx(1 / 127.5), "offset": -1.0},
    }


def test_describe_applies_changes(kcnn):
    done = kcnn("describe", "resnet18", "--change", "stage3_unit1_{a,skip}.stride=1", "--json")
    assert json.loads(done.stdout)["stride"] == [16, 16]


def test_a_change_that_alters_nothing_is_a_line_for_a_person(kcnn):
    done = kcnn("describe", "vgg11", "--change", "conv1_1.kernel=3")
    assert done.returncode == 0
    assert done.stderr.strip() == "note: vgg11: conv1_1.kernel changed nothing: the layers are so already"


def test_diff_says_what_changes_and_what_it_costs(kcnn):
    done = kcnn("diff", "googlenet.bn", "googlenet.torchvision")
    assert "~ inception_4a_5x5: kernel 5 -> 3" in done.stdout
    assert "(-380,928)" in done.stdout
    assert kcnn("diff", "vgg11", "vgg11").stdout.strip() == "the same, layer by layer"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["describe", "gogglenet"], "nearest are googlenet"),
        (["describe", "vgg11", "--input", "large"], "no input size such as"),
        (["describe", "vgg11", "--input", "16x16"], "smallest input that fits is 32x32"),
        (["describe", "vgg11", "--change", "kernel"], "write NAME=VALUE"),
        (["describe", "vgg11", "--change", "conv9_9.kernel=3"], "no layer answers"),
        (["describe", "vgg11", "--set", "with=1"], "no option 'with'"),
        (["train", "vgg12", "--data", "digits"], "nearest are vgg1"),
        (["predict", "nowhere.keras", "x.png"], "there is no file"),
        (["predict", "nowhere", "x.png"], "no architecture is named 'nowhere'"),
        (["diff", "vgg11", "vgg99"], "nearest are vgg"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(kcnn, words, says):
    done = kcnn(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_debug_shows_the_traceback(kcnn):
    done = kcnn("--debug", "describe", "gogglenet")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_help_shows_examples(kcnn):
    for command in ("list", "describe", "diff", "train", "predict"):
        done = kcnn(command, "--help")
        assert done.returncode == 0
        assert "Examples" in done.stdout
        assert f"kcnn {command}" in done.stdout
