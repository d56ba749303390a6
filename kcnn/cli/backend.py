"""Keras and its backend, loaded when a command needs them and not before."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what TensorFlow's libraries print while they start off the screen; show it after an error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        screen = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except ValueError:  # a mistake, of which TensorFlow has nothing to say
            raise
        except BaseException:
            held.seek(0)
            os.write(screen, held.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def start_backend(strategy: str = "single") -> None:
    """Load Keras and its backend without their chatter; the workers of a strategy are joined first.

    oneDNN's kernels are switched on: TensorFlow does so by itself only on processors with AVX-512,
    and on others they train GoogLeNet about 1.4 times as fast (benchmarks/speed.py onednn).
    """
    if "tensorflow" not in sys.modules:  # which has read it: then only what this process starts would compute otherwise
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with silence():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            if strategy != "single":
                from kcnn import distribute

                distribute.make_strategy(strategy)
            tf.config.list_physical_devices()
            tf.constant(0)  # the devices print when they are first used
