"""`kcnn verify`: what it accepts and what it reports, without TensorFlow."""

import pytest

from kcnn.architectures import determinism


@pytest.mark.parametrize("pattern", ["mobilenet_v[12]*", pytest.param("*", marks=pytest.mark.every)])
def test_cli_verify_accepts_what_is_installed_and_says_what_it_waits_for(command, pattern, monkeypatch):
    if pattern != "*":
        monkeypatch.setattr(determinism, "HASH_SEEDS", ("0", "1"))  # of processes, four of which take seconds
    done = command("verify", pattern)
    assert done.returncode == 0
    rows = done.stdout.splitlines()
    assert rows[-1] == f"{len(rows) - 3} of {len(rows) - 3} are as declared"
    assert done.stderr.splitlines()[:1] == [f"verifying {len(rows) - 3} networks"]
    assert "verifying" not in done.stdout


LIAR = """
from kcnn import Architecture, WeightMapping, Weights
from kcnn.blocks import conv
facts = {"source": "me", "accuracy": None, "citation": "none", "license": "none"}
net = Architecture(
    backbone=lambda x: conv(x, 4, name="one"),
    reference="none",
    params=7,
    macs=1e6,
    receptive_field=9,
    min_input_size=2,
    weight_mappings={"theirs": WeightMapping(names=lambda layers: {"one": "a", "logits": "a"})},
    weights=(Weights(url="ftp://x/y", checksum=None, mapping="others", classes=("a",), crop=300, **facts),),
)
"""


def test_cli_verify_reports_every_wrong_declaration(command, install, monkeypatch):
    monkeypatch.setattr(determinism, "HASH_SEEDS", ())  # of processes, which the next test compares
    install("kcnn-wrong", "wrong_plugin", LIAR, liar="net")
    install("kcnn-broken", "broken_plugin", "raise RuntimeError('boom')", shattered="net")
    done = command("verify", "liar")
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    for fault in (
        "params are 5,112, declared 7",
        "MACs are 5,423,008, declared 1,000,000.0",
        "the receptive field is 3x3, declared 9",
        "the minimum input size is 1, declared 2",
        "weight mapping theirs names two layers a",
        "'ftp://x/y' is not an https, http or file URL",
        "unknown weight mapping 'others'. Did you mean 'theirs'?",
        "1 class names for 1000 classes",
        "crop 300 exceeds resize 256",
        "0 of 1 are as declared",
    ):
        assert fault in said
    broken = command("verify", "shattered")
    assert broken.returncode == 1
    assert "RuntimeError: boom" in broken.stdout


NO_LOGITS = """
from kcnn import Architecture, ops
from kcnn.blocks import apply, conv
def dense(x, classes):
    return apply(ops.Dense(classes), apply(ops.GlobalPool(), x, name="pool"), name="logits")
def shuffle(x):
    for name in {"one", "two", "three", "four"}:
        x = conv(x, 3, name=name)
    return x
facts = {"reference": "none", "input_shape": (8, 8, 3), "params": 3 * 28 + 4 * 1000, "map_sizes": (8,)}
facts |= {"backbone": lambda x: conv(x, 3, name="one")}
soft = Architecture(head=lambda x, classes: apply(ops.Activation("softmax"), dense(x, classes), name="end"), **facts)
fixed = Architecture(head=lambda x, classes: dense(x, 1000), **facts)
unsteady = Architecture(head=dense, **{**facts, "backbone": shuffle, "params": 4 * 3 * 28 + 4 * 1000})
"""


def test_cli_verify_finds_what_the_test_kit_finds_in_the_graph(command, install, monkeypatch):
    monkeypatch.setattr(determinism, "HASH_SEEDS", ("0", "1"))  # which order four names otherwise
    faults = {
        "soft": "output 'logits' ends in a softmax; a head must return logits",
        "fixed": "output 'logits' has the shape (1000,) for 3 classes",
        "unsteady": "its layers differ from process to process",
    }
    install("kcnn-nologits", "nologits_plugin", NO_LOGITS, **{name: name for name in faults})
    done = command("verify", "kcnn_nologits:*")  # by its distribution, whose name may be spelled otherwise
    assert done.returncode == 1
    rows = " ".join(done.stdout.split()).split("kcnn-nologits:")[1:]
    assert [row.split()[0] for row in rows] == sorted(faults)
    for row in rows:
        assert faults[row.split()[0]] in row
        assert row.count("output 'logits'") <= 1
