"""The command `env`: versions, devices, cache and plugins, for a bug report."""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

import kcnn
from kcnn.architectures import doctor, registry
from kcnn.cli.backend import silence
from kcnn.cli.console import out, show_status
from kcnn.cli.options import AsJson, examples
from kcnn.distribute.machine import list_driver_gpus

PACKAGES = (
    *("keras", "tensorflow", "jax", "torch", "keras-tuner", "numpy", "matplotlib", "tensorflow-datasets"),
    *("ai-edge-litert", "onnxruntime", "tf2onnx", "tensorboard"),
)


def add(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("env", epilog=examples("kcnn env", "kcnn env --json"))(env)


def env(as_json: AsJson = False) -> None:
    """Show versions, backend, devices, cache folder and plugins, for a bug report."""
    with show_status("loading the Keras backend"):
        report = collect_environment()
    if as_json:
        print(json.dumps(report, indent=1))
        return
    lines = {name: ", ".join(value) or "none" if isinstance(value, list) else value for name, value in report.items()}
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        out.print(f"{name.ljust(width)}{text}", soft_wrap=True)


def collect_environment() -> dict[str, str | list[str]]:
    """Return what a bug report needs, by heading; a backend that does not load is reported with its error."""
    from kcnn.weights import downloads

    versions = {name: installed for name in PACKAGES if (installed := _version(name))}
    backend, devices, reason = _inspect_backend()
    plugins = [f"{plugin.distribution} {plugin.version} ({plugin.state})" for plugin in doctor.list_plugins()]
    limit = os.environ.get(registry.ALLOW_VARIABLE)
    return {
        "kcnn": kcnn.__version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "operating system": platform.platform(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        **versions,
        "Keras backend": backend,
        "devices": devices,
        "GPUs of the driver": list_driver_gpus(),
        "GPU that is not used": reason or "none",
        "cache folder": str(downloads.cache_folder()),
        "plugins": plugins,
        registry.ALLOW_VARIABLE: "not set" if limit is None else limit,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux, or a processor that it does not name
        return platform.processor() or platform.machine()


def _inspect_backend() -> tuple[str, list[str], str | None]:
    """The backend, its devices, and why it does not use a GPU."""
    try:
        with silence():
            import keras

            from kcnn.training import hardware

            backend: str = keras.backend.backend()
            return backend, _list_devices(backend), hardware.explain_unused_gpus()
    except Exception as error:  # a broken installation is what a bug report is about
        return f"does not load: {type(error).__name__}: {error}", [], None


def _list_devices(backend: str) -> list[str]:
    if backend == "tensorflow":
        import tensorflow as tf

        devices: list[Any] = tf.config.list_physical_devices()
        details = (tf.config.experimental.get_device_details(device).get("device_name") for device in devices)
        return [device.name + (f" ({name})" if name else "") for device, name in zip(devices, details, strict=True)]
    from keras import distribution

    return list(distribution.list_devices())
