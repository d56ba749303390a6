"""tf.distribute's strategy for several workers, mended so that Keras' fit works under it. TensorFlow's alone.

Keras 3 asks two things of the strategy that it does not do (keras-team/keras#20585): to average a whole
batch, of which Keras only needs the shapes, and to average scalars along their first axis. The strategy here
does both; Keras itself is not touched. Once Keras is mended, this file goes, and tf.distribute's own class serves.
"""

import warnings
from typing import Any

import keras
import tensorflow as tf

KNOWN = "3.15."


class MultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """MultiWorkerMirroredStrategy that also reduces what Keras gives it."""

    def reduce(self, reduce_op: Any, value: Any, axis: Any) -> Any:
        """Reduce a value over replicas, or each value of a structure."""
        if isinstance(value, tuple | list | dict):  # tf.distribute takes one value; Keras gives it a batch
            return tf.nest.map_structure(self._own, value)
        if axis == 0 and self._own(value).shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)

    def _own(self, value: Any) -> Any:
        return self.experimental_local_results(value)[0]


def patch_keras() -> MultiWorkerStrategy:
    """The strategy over the workers of TF_CONFIG; warns of a Keras that it was not tried with.

    RuntimeError where TensorFlow is at work already.
    """
    if not keras.__version__.startswith(KNOWN):
        warnings.warn(
            f"training on several workers was tried with Keras {KNOWN}x, and this is {keras.__version__}; "
            "compare the first losses with those of one worker",
            stacklevel=2,
        )
    try:
        return MultiWorkerStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise RuntimeError(
            "the workers cannot be joined, since TensorFlow is at work in this process already; "
            'ask for kcnn.distribute.make_strategy("multiworker") before anything makes a tensor, reads data or builds'
        ) from error
