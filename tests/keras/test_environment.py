"""`kcnn env` prints what a bug report needs."""

import json
import platform
from importlib.metadata import version

import keras

import kcnn
from kcnn.cli import environment


def test_cli_env_as_json_has_versions_backend_devices_cache_and_plugins(command, monkeypatch, tmp_path):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path))
    monkeypatch.setenv("KCNN_PLUGINS", "none")
    report = json.loads(command("env", "--json").stdout)
    assert report["kcnn"] == kcnn.__version__
    assert report["Python"].startswith(platform.python_version())
    assert report["keras"] == version("keras")
    assert report["tensorflow"] == version("tensorflow")
    assert report["Keras backend"] == keras.backend.backend()
    assert any("CPU" in device.upper() for device in report["devices"])
    assert report["cache folder"] == str(tmp_path)
    assert isinstance(report["GPUs of the driver"], list)
    assert report["GPU that is not used"]
    assert f"kcnn {kcnn.__version__} (ready)" in report["plugins"]
    assert report["KCNN_PLUGINS"] == "none"


def test_cli_env_prints_a_line_for_each_item(command):
    done = command("env")
    assert done.returncode == 0
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"kcnn", "Python", "operating system", "processor", "Keras backend", "devices", "plugins"} <= {*names}


def test_cli_env_says_what_it_waits_for(command):
    done = command("env")
    assert done.stderr.splitlines()[:1] == ["loading the Keras backend"]
    assert "loading the Keras backend" not in done.stdout


def test_cli_env_reports_a_backend_that_does_not_load(command, monkeypatch):
    def fail(backend):
        raise ImportError("libcudart.so is missing")

    monkeypatch.setattr(environment, "_list_devices", fail)
    done = command("env")
    assert done.returncode == 0
    assert "does not load: ImportError: libcudart.so is missing" in done.stdout
