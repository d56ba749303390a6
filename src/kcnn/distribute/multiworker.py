"""A strategy of tf.distribute for several workers that works with Keras' fit. TensorFlow only.

Keras 3 requires two things that tf.distribute does not support (keras-team/keras#20585): to average a complete batch,
of which Keras only needs the shapes, and to average scalars along their first axis. The strategy here supports both;
Keras itself is not changed. Once Keras is fixed, tf.distribute's own class replaces this file.
"""

from typing import Any

import keras
import tensorflow as tf

from kcnn.graph.callers import warn_caller

TESTED = "3.15."  # versions of Keras


class MultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """MultiWorkerMirroredStrategy that also reduces what Keras gives it."""

    def reduce(self, reduce_op: Any, value: Any, axis: Any) -> Any:
        """Reduce a value over replicas, or each value of a structure."""
        if isinstance(value, tuple | list | dict):  # tf.distribute takes one value; Keras gives it a batch
            return tf.nest.map_structure(self._local_value, value)
        if axis == 0 and self._local_value(value).shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)

    def _local_value(self, value: Any) -> Any:
        return self.experimental_local_results(value)[0]


def make_multiworker_strategy() -> MultiWorkerStrategy:
    """Return the strategy over the workers of TF_CONFIG; warn of an untested version of Keras.

    Raises:
        RuntimeError: TensorFlow is in use already.
    """
    if not keras.__version__.startswith(TESTED):
        warn_caller(
            f"training on several workers was tested with Keras {TESTED}x, found {keras.__version__}; "
            "compare the first losses with those of one worker",
        )
    try:
        return MultiWorkerStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise RuntimeError(
            "cannot join the workers: TensorFlow is in use in this process already; "
            'call kcnn.distribute.make_strategy("multiworker") before anything makes a tensor, reads data or builds; '
            "or start one process, without kcnn launch and srun"
        ) from error
