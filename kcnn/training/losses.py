"""Loss and accuracy of logits, for labels that are class numbers or, after MixUp and CutMix, shares of classes.

With any number of labels a picture these are 0 and 1 for each class, and each class is a question of its own.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kcnn.keras_bridge.layers import registered


@registered
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits (batch, classes) with class numbers (batch,) or shares of classes (batch, classes).

    `label_smoothing` spreads that share of every label's mass evenly over all classes
    (arXiv:1512.00567, section 7); `class_weights` are factors of the loss, one per class.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        name: str = "cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else list(map(float, class_weights))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        shares = _shares(y_true, y_pred)
        mass = shares * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        losses = -ops.sum(mass * ops.log_softmax(y_pred, axis=-1), axis=-1)
        if self.class_weights is not None:
            losses *= ops.matmul(shares, ops.convert_to_tensor(self.class_weights, dtype=shares.dtype))
        return losses

    def get_config(self) -> dict[str, Any]:
        own = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        return {**super().get_config(), **own}


def _shares(y_true: Any, y_pred: Any) -> Any:
    """Labels as shares of classes (batch, classes), in the type of the logits."""
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == y_pred.shape[-1]:
        return ops.cast(y_true, y_pred.dtype)
    numbers = ops.reshape(ops.cast(y_true, "int32"), ops.shape(y_pred)[:-1])
    return ops.one_hot(numbers, y_pred.shape[-1], dtype=y_pred.dtype)


@keras.saving.register_keras_serializable("kcnn")
def is_hit(y_true: Any, y_pred: Any) -> Any:
    """1 for every image whose highest logit is its class's, or its largest share's, else 0."""
    found = ops.argmax(_shares(y_true, y_pred), axis=-1)
    return ops.cast(ops.equal(found, ops.argmax(y_pred, axis=-1)), "float32")


@keras.saving.register_keras_serializable("kcnn")
def subset_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 for every image whose logits are above 0 for the labels that it has and for no other, else 0."""
    wanted = ops.greater(ops.cast(y_true, "float32"), 0.5)
    return ops.cast(ops.all(ops.equal(wanted, ops.greater(y_pred, 0.0)), axis=-1), "float32")


def make_accuracy(multi_label: bool = False) -> Any:
    """A Keras metric: the share of images whose highest logit is their class's, for either kind of label.

    With `multi_label` the share of images of which every label is right.
    """
    return keras.metrics.MeanMetricWrapper(subset_accuracy if multi_label else is_hit, name="accuracy")


def make_metrics(multi_label: bool, classes: int) -> list[Any]:
    """What is measured in training; of several labels Keras' area under precision and recall, the mean of classes."""
    if not multi_label:
        return [make_accuracy()]
    area = keras.metrics.AUC(
        curve="PR", multi_label=True, num_labels=classes, from_logits=True, name="average_precision"
    )
    return [make_accuracy(multi_label), area]


def make_loss(
    multi_label: bool, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> keras.losses.Loss:
    """CrossEntropy of one class among all, or with any number of labels Keras' of each class by itself."""
    if not multi_label:
        return CrossEntropy(label_smoothing, class_weights)
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)


def balance_class_weights(labels: Any, classes: int) -> list[float]:
    """Factors that give each class the same part in the loss: images / (classes * images of the class)."""
    import numpy as np

    counts = np.bincount(labels, minlength=classes)
    return (counts.sum() / (classes * np.maximum(counts, 1))).tolist()
