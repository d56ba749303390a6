"""Load Keras and its backend when a command needs them."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence

from kcnn.cli.console import err
from kcnn.cli.interrupts import quit_on_interrupt
from kcnn.keras_bridge.backends import check_backend

UNUSED = ("matplotlib", "pandas", "sklearn")  # Keras imports them for wrappers, data frames and plots of its own
UNUSED_BY_TENSORFLOW = ("jax", "scipy")  # it imports them for LiteRT of JAX, and for its own old Keras


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress what TensorFlow's libraries print meanwhile; print it after an error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as buffer:
        screen = os.dup(2)
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except ValueError:  # a mistake of the user, to which TensorFlow's messages add nothing
            raise
        except BaseException:
            buffer.seek(0)
            os.write(screen, buffer.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


@contextlib.contextmanager
def _hide(packages: Sequence[str]) -> Iterator[None]:
    """Have packages that are not loaded pass for not installed meanwhile."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def start_backend(strategy: str = "single") -> None:
    """Load Keras and its backend without their messages.

    The kernels of oneDNN are switched on: TensorFlow does so itself only on processors with AVX-512, and on others they
    train GoogLeNet about 1.4 times as fast (benchmarks/speed.py onednn).

    Args:
        strategy: A strategy of kcnn.distribute; its workers are joined first.
    """
    if "tensorflow" not in sys.modules:  # which reads it once: later it would only affect child processes
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backend = check_backend()
    with quit_on_interrupt(), silence():
        with _hide((*UNUSED, *UNUSED_BY_TENSORFLOW) if backend == "tensorflow" else UNUSED):
            import keras  # noqa: F401

        if backend == "tensorflow":
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            if strategy != "single":
                from kcnn import distribute

                distribute.make_strategy(strategy)
            tf.config.list_physical_devices()
            tf.constant(0)  # the devices print when they are first used


def show_device(strategy: str = "single", processes: int = 1) -> None:
    """Print the device that computes, and why a GPU of this machine is not used, to stderr.

    Args:
        strategy: A strategy of kcnn.distribute.
        processes: Processes that share the devices.
    """
    lines: list[str] = []
    with quit_on_interrupt(), silence():
        from kcnn.training import devices, hardware

        hardware.introduce_device(
            lines.append, devices.make_strategy("single" if processes > 1 else strategy), processes
        )
    for number, line in enumerate(lines):
        err.print(line, style="yellow" if number else None, markup=False, soft_wrap=True)
