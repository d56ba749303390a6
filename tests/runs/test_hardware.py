"""The device is named at each start, and a GPU that the backend does not use."""

import os
import sys
from types import SimpleNamespace

import keras
import pytest

import kcnn
from kcnn.distribute import machine
from kcnn.parallel import count_cores
from kcnn.training import devices, hardware
from tests.runs import small

H100 = "NVIDIA H100 80GB HBM3"


def install_nvidia_smi(folder, lines, code=0):
    """The environment of a machine with nvidia-smi, which prints lines."""
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {code}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def list_h100s(count):
    return [f"GPU {n}: {H100} (UUID: GPU-{n:08}-abcd)" for n in range(count)]


def test_list_driver_gpus_asks_nvidia_smi_then_reads_proc_and_dev(tmp_path):
    assert machine.list_driver_gpus(install_nvidia_smi(tmp_path / "bin", list_h100s(2))) == [H100, H100]
    failed = install_nvidia_smi(tmp_path / "bin", ["Failed to initialize NVML: Driver/library version mismatch"], 18)
    root = tmp_path / "root"
    assert machine.list_driver_gpus(failed, root) == []
    (root / "dev").mkdir(parents=True)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (root / "dev" / name).touch()
    assert machine.list_driver_gpus({"PATH": ""}, root) == ["NVIDIA GPU", "NVIDIA GPU"]
    for bus in ("0000:18:00.0", "0000:2a:00.0"):
        information = root / "proc/driver/nvidia/gpus" / bus / "information"
        information.parent.mkdir(parents=True)
        information.write_text("Model: \t\t Tesla T4\nIRQ:   \t\t 16\n")
    assert machine.list_driver_gpus(failed, root) == ["Tesla T4", "Tesla T4"]


def test_list_visible_gpus_are_those_of_cuda_visible_devices(tmp_path):
    environment = install_nvidia_smi(tmp_path, list_h100s(2))
    assert machine.list_visible_gpus(environment) == ["0", "1"]
    for value, gpus in {
        "-1": [],
        "": [],
        "-1,0": [],
        "2": [],
        "NoDevFiles": [],
        " 1, 0": ["1", "0"],
        "1,2,0": ["1"],
    }.items():
        assert machine.list_visible_gpus({**environment, "CUDA_VISIBLE_DEVICES": value}) == gpus
    uuid = {**environment, "CUDA_VISIBLE_DEVICES": "GPU-00000001-abcd"}
    assert machine.list_visible_gpus(uuid) == ["GPU-00000001-abcd"]
    without = {"PATH": "", "CUDA_VISIBLE_DEVICES": "1,3"}
    assert machine.list_visible_gpus(without, tmp_path) == ["1", "3"]


def use_backend(monkeypatch, name, installed=()):
    monkeypatch.setattr(keras.backend, "backend", lambda: name)
    monkeypatch.setattr(hardware, "list_backend_gpus", list)
    monkeypatch.setattr(hardware, "_is_installed", lambda package: package in installed)


@pytest.mark.parametrize(
    ("backend", "installed", "advice"),
    [
        ("tensorflow", (), 'does not find the CUDA libraries; install them: pip install "kcnn[cuda]"'),
        ("tensorflow", ("nvidia-cudnn-cu12",), "cannot load the CUDA libraries that are installed; python -c"),
        ("jax", (), 'this JAX is built without CUDA; install its plugin: pip install "jax[cuda12]"'),
        ("jax", ("jax-cuda13-plugin",), "JAX cannot load CUDA; python -c"),
        ("torch", (), "this PyTorch is built without CUDA; install one with CUDA"),
    ],
)
def test_explain_unused_gpus_names_gpu_backend_and_what_to_install(monkeypatch, tmp_path, backend, installed, advice):
    use_backend(monkeypatch, backend, installed)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=SimpleNamespace(cuda=None)))
    monkeypatch.setattr("tensorflow.test.is_built_with_cuda", lambda: True)
    reason = hardware.explain_unused_gpus(install_nvidia_smi(tmp_path, list_h100s(8)))
    assert reason.startswith(f"8 x {H100} are not used: ")
    assert advice in reason
    assert "\n" not in reason


def test_explain_unused_gpus_tells_a_build_without_cuda_from_missing_libraries(monkeypatch, tmp_path):
    use_backend(monkeypatch, "tensorflow")
    monkeypatch.setattr("tensorflow.test.is_built_with_cuda", lambda: False)
    assert "is built without CUDA" in hardware.explain_unused_gpus(install_nvidia_smi(tmp_path, list_h100s(1)))


def test_explain_unused_gpus_names_hidden_and_inaccessible_gpus(monkeypatch, tmp_path):
    use_backend(monkeypatch, "jax")
    environment = install_nvidia_smi(tmp_path / "bin", list_h100s(1))
    for hidden in ("", "-1,0", "7"):
        reason = hardware.explain_unused_gpus({**environment, "CUDA_VISIBLE_DEVICES": hidden})
        assert reason == f"{H100} is not used: CUDA_VISIBLE_DEVICES hides all GPUs; unset it to use them"
    assert "JAX_PLATFORMS selects the CPU" in hardware.explain_unused_gpus({**environment, "JAX_PLATFORMS": "cpu"})
    information = tmp_path / "proc/driver/nvidia/gpus/0000:18:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text(f"Model: {H100}\n")
    assert "docker run --gpus all" in hardware.explain_unused_gpus({"PATH": ""}, tmp_path)


def test_explain_unused_gpus_is_silent_without_a_gpu_or_where_it_is_used(monkeypatch, tmp_path):
    use_backend(monkeypatch, "tensorflow")
    assert hardware.explain_unused_gpus({"PATH": ""}, tmp_path) is None
    monkeypatch.setattr(hardware, "list_backend_gpus", lambda: [H100])
    assert hardware.explain_unused_gpus(install_nvidia_smi(tmp_path, list_h100s(1))) is None


def test_describe_device_names_gpus_replicas_and_processes(monkeypatch, mirrored):
    assert small.BATCH  # imported before TensorFlow starts
    cpu = machine.describe_cpu(*(["oneDNN"] if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1" else []))
    assert cpu.startswith(f"CPU ({count_cores()} core")
    monkeypatch.setattr(hardware, "list_backend_gpus", list)
    assert hardware.describe_device() == cpu
    assert hardware.describe_device(mirrored) == f"2 x {cpu} (mirrored)"
    assert hardware.describe_device(None, 4) == f"{cpu}, shared by 4 processes"
    monkeypatch.setattr(hardware, "list_backend_gpus", lambda: [H100, H100])
    assert hardware.describe_device(mirrored) == f"2 x {H100} (mirrored)"
    assert hardware.describe_device(devices.make_strategy("single")) == f"{H100} (1 of 2 GPUs)"
    assert hardware.describe_device(None, 2) == f"2 x {H100}, shared by 2 processes"
    monkeypatch.setattr(hardware, "list_backend_gpus", lambda: ["Tesla T4"])
    assert hardware.describe_device() == "Tesla T4"


def test_show_device_prints_the_device_and_an_unused_gpu_to_stderr(monkeypatch, capsys):
    from kcnn.cli.backend import show_device

    monkeypatch.setattr(hardware, "explain_unused_gpus", lambda: f"{H100} is not used: because")
    monkeypatch.setattr(hardware, "_introduced", set())
    show_device()
    printed = capsys.readouterr()
    assert printed.out == ""
    device, reason = printed.err.splitlines()
    assert device == f"device: {hardware.describe_device()}"
    assert reason == f"{H100} is not used: because"


def test_train_names_the_device_and_an_unused_gpu_once_in_python(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(hardware, "explain_unused_gpus", lambda: f"{H100} is not used: because")
    monkeypatch.setattr(hardware, "_introduced", set())
    spec = kcnn.ModelSpec(network="mlp", input_shape=(8, 8, 1))
    kcnn.train(spec, "digits", out=tmp_path / "silent", epochs=1)  # in a script, whose output is not a terminal
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [f"{H100} is not used: because"]
    monkeypatch.setattr(hardware, "_introduced", set())
    lines = []
    for _ in range(2):
        kcnn.train(spec, "digits", out=tmp_path / "run", epochs=1, log=lines.append)
    start = lines.index(f"device: {hardware.describe_device()}")
    assert lines[start + 1] == f"{H100} is not used: because"
    assert sum(line.startswith("device: ") for line in lines) == 1
