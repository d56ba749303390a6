"""The dtype policy that "auto" stands for, on this CPU and on others."""

import pytest

import kcnn
from kcnn.distribute.machine import list_cpu_features
from kcnn.search import search
from kcnn.search.job import prepare_search
from kcnn.search.result import read_request
from kcnn.training import devices, precision
from tests.runs.searches import SPACE, make_config, search_with
from tests.runs.training import Stopped
from tests.runs.training import train_with as train


def make_proc(folder, flags):
    """The root of a machine with two processors that have these instruction sets."""
    (folder / "proc").mkdir(parents=True)
    text = "".join(
        f"processor\t: {n}\nmodel name\t: A Processor\nflags\t\t: fpu {flags}\nbogomips\t: 4800\n" for n in (0, 1)
    )
    (folder / "proc/cpuinfo").write_text(text)
    return folder


def test_list_cpu_features_reads_them_from_proc(tmp_path):
    assert list_cpu_features(make_proc(tmp_path / "one", "avx2 avx512_bf16")) == {"fpu", "avx2", "avx512_bf16"}
    assert list_cpu_features(tmp_path / "no Linux") == frozenset()


@pytest.mark.parametrize(
    ("network", "shape", "is_faster"),
    [
        ("googlenet.bn", (64, 64, 1), True),
        ("resnet50", (224, 224, 3), True),
        ("mobilenet_v2", (224, 224, 3), False),  # depthwise convolutions
        ("resnext50_32x4d", (224, 224, 3), False),  # grouped convolutions
        ("resnet20", (32, 32, 3), False),  # 41 million multiply-accumulates
    ],
)
def test_is_faster_in_bfloat16_follows_from_the_processor_and_the_network(network, shape, is_faster, tmp_path):
    graph = kcnn.trace(network, input_shape=shape)
    old, new = make_proc(tmp_path / "old", "avx512f"), make_proc(tmp_path / "new", "avx512f avx512_bf16")
    assert precision.is_faster_in_bfloat16(graph, {}, new) == is_faster
    assert not precision.is_faster_in_bfloat16(graph, {"TF_ENABLE_ONEDNN_OPTS": "0"}, new)
    assert not precision.is_faster_in_bfloat16(graph, {}, old)
    assert not precision.is_faster_in_bfloat16(graph, {}, tmp_path)
    assert not precision.is_faster_in_bfloat16(None, {}, new)


@pytest.fixture
def choose(monkeypatch):
    """A function that makes this a machine whose CPU is faster in bfloat16, or one whose is not."""
    monkeypatch.setattr(precision, "_list_compute_capabilities", list)  # no GPU
    return lambda is_faster: monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda graph: is_faster)


def test_resolve_policy_of_auto_on_cpus(choose, monkeypatch):
    graph = kcnn.trace("convnet")
    choose(False)
    assert precision.resolve_policy("auto", graph) == "float32"
    choose(True)
    assert precision.resolve_policy("auto", graph) == "mixed_bfloat16"
    assert precision.resolve_policy("float32", graph) == "float32"
    monkeypatch.setattr(devices, "worker_position", lambda strategy: (0, 2))
    assert precision.resolve_policy("auto", graph) == "float32", "the processors of other workers are not known"


@pytest.mark.parametrize(
    ("capabilities", "policy"), [([9.0, 8.0], "mixed_bfloat16"), ([8.0, 7.5], "mixed_float16"), ([0.0], "float32")]
)
def test_resolve_policy_of_auto_is_of_the_oldest_gpu(capabilities, policy, choose, monkeypatch):
    choose(True)
    monkeypatch.setattr(precision, "_list_compute_capabilities", lambda: capabilities)
    assert precision.resolve_policy("auto", kcnn.trace("convnet")) == policy


def test_train_keeps_what_auto_chose_where_it_is_resumed_on_another_device(choose, tmp_path):
    said = []
    request = {"out": tmp_path / "out", "input_shape": (8, 8, 1), "epochs": 2, "log": said.append}
    choose(True)
    with pytest.raises(KeyboardInterrupt):
        train("mlp", "digits", callbacks=[Stopped(1)], **request)
    choose(False)
    found = train("mlp", "digits", **request)
    assert found.resumed_epochs == 1
    assert found.metrics["request"]["config"]["precision"] == "mixed_bfloat16"
    assert said.count("precision: mixed_bfloat16") == 2
    with pytest.raises(ValueError, match=r"holds another run \(config.precision 'mixed_bfloat16', not 'float32'\)"):
        train("mlp", "digits", precision="float32", **request)


def test_train_finds_its_folder_again_on_another_device(choose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = {"out": None, "input_shape": (8, 8, 1), "epochs": 1}
    choose(False)
    first = train("mlp", "digits", **request)
    choose(True)
    assert train("mlp", "digits", **request).folder == first.folder
    assert train("mlp", "digits", seed=5, **request).metrics["request"]["config"]["precision"] == "mixed_bfloat16"


def test_train_from_weights_stays_in_float32_on_cpus(choose, tmp_path, monkeypatch):
    choose(False)
    first = train("mlp", "digits", out=tmp_path / "first", input_shape=(8, 8, 1), epochs=1)
    monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda graph: graph is not None)
    request = {"input_shape": (8, 8, 1), "epochs": 1}
    tuned = train("mlp", "digits", out=tmp_path / "tuned", weights=str(first.folder), **request)
    assert tuned.metrics["request"]["config"]["precision"] == "float32"
    again = train("mlp", "digits", out=tmp_path / "again", **request)
    assert again.metrics["request"]["config"]["precision"] == "mixed_bfloat16"


def test_train_takes_no_precision_from_another_run_that_it_replaces(choose, tmp_path):
    request = {"out": tmp_path / "out", "input_shape": (8, 8, 1), "epochs": 1}
    choose(False)
    with pytest.raises(KeyboardInterrupt):
        train("mlp", "digits", precision="mixed_float16", callbacks=[Stopped(0)], **request)
    found = train("mlp", "digits", seed=5, **request)
    assert found.metrics["request"]["config"]["precision"] == "float32"


def test_search_keeps_what_auto_chose_where_it_is_resumed_on_another_device(choose, digits, pretended, tmp_path):
    said = []
    choose(True)
    search(SPACE, digits, make_config(trials=2), out=tmp_path, log=said.append)
    assert "precision: mixed_bfloat16" in said
    choose(False)
    assert len(search_with(SPACE, digits, tmp_path, trials=3).trials) == 3
    assert read_request(tmp_path)["config"]["train"]["precision"] == "mixed_bfloat16"


@pytest.mark.parametrize("shared", [{"port": 12345}, {"chief": "localhost:12345"}])
def test_search_over_several_machines_chooses_no_precision_by_the_processor_of_one(
    shared, digits, monkeypatch, tmp_path
):
    monkeypatch.setattr(precision, "_list_compute_capabilities", list)
    monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda graph: graph is not None)
    alone = prepare_search(SPACE, digits, make_config(), out=tmp_path)
    assert alone.settings.train.precision == "mixed_bfloat16"
    assert prepare_search(SPACE, digits, make_config(**shared), out=tmp_path).settings.train.precision == "float32"
