"""Losses and metrics of logits.

Labels are class indices or, after MixUp and CutMix, probabilities of classes; multi-label ones are 0 or 1 per class.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords, wrong_kind, wrong_value
from kcnn.keras_bridge.layers import registered

MAX_CLASSES = 10_000_000
METRICS = ("balanced_accuracy", "macro_f1", "cross_entropy")  # beside those that every training has


@check_keywords
@registered
class CrossEntropy(keras.losses.Loss):
    """Compute the cross-entropy of logits (batch, classes) with class indices (batch,) or probabilities of classes.

    Args:
        label_smoothing: Fraction of each label that is spread over all classes (arXiv:1512.00567, section 7).
        class_weights: Factors of the loss, one per class.
        name: Of the loss.
        reduction: As of keras.losses.Loss.
        dtype: As of keras.losses.Loss.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        name: str = "cross_entropy",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else list(map(float, class_weights))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image (batch,)."""
        classes = y_pred.shape[-1]
        targets = _to_probabilities(y_true, y_pred)
        smoothed = targets * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        losses = -ops.sum(smoothed * ops.log_softmax(y_pred, axis=-1), axis=-1)
        if self.class_weights is not None:
            losses *= ops.matmul(targets, ops.convert_to_tensor(self.class_weights, dtype=targets.dtype))
        return losses

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as Keras saves them."""
        own = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        return {**super().get_config(), **own}


def _to_probabilities(y_true: Any, y_pred: Any) -> Any:
    """Labels as probabilities of classes (batch, classes), in the dtype of the logits."""
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == y_pred.shape[-1]:
        return ops.cast(y_true, y_pred.dtype)
    indices = ops.reshape(ops.cast(y_true, "int32"), ops.shape(y_pred)[:-1])
    return ops.one_hot(indices, y_pred.shape[-1], dtype=y_pred.dtype)


@keras.saving.register_keras_serializable("kcnn")
def is_hit(y_true: Any, y_pred: Any) -> Any:
    """Return 1 for each image whose highest logit is that of its most probable label, else 0."""
    labels = ops.argmax(_to_probabilities(y_true, y_pred), axis=-1)
    return ops.cast(ops.equal(labels, ops.argmax(y_pred, axis=-1)), "float32")


@keras.saving.register_keras_serializable("kcnn")
def subset_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 for each image whose logits are above 0 for exactly its labels, else 0."""
    labels = ops.greater(ops.cast(y_true, "float32"), 0.5)
    return ops.cast(ops.all(ops.equal(labels, ops.greater(y_pred, 0.0)), axis=-1), "float32")


@check_arguments
def make_accuracy(multi_label: bool = False) -> Any:
    """Return the accuracy as a Keras metric, for class indices and probabilities of classes.

    Args:
        multi_label: Whether labels are 0 or 1 per class: the metric is then the subset accuracy.

    Returns:
        The metric, named "accuracy".
    """
    return keras.metrics.MeanMetricWrapper(subset_accuracy if multi_label else is_hit, name="accuracy")


@registered
class MeanAveragePrecision(keras.metrics.AUC):
    """Compute the area under the precision-recall curve of each class, and its mean over the classes with images.

    Keras' own mean counts 0 for a class without images.
    """

    def result(self) -> Any:
        """Return the mean."""
        has_images = self.true_positives[0] + self.false_negatives[0] > 0
        count = ops.maximum(ops.sum(ops.cast(has_images, self.dtype)), 1)
        return super().result() * (self.num_labels / count)


@registered
class ClassAverage(keras.metrics.Metric):
    """Compute the mean recall or F1 over the classes with images: balanced accuracy or macro F1.

    Args:
        measure: "balanced_accuracy" or "macro_f1".
        classes: Number of classes.
        multi_label: Whether labels are 0 or 1 per class; a class is then predicted where its logit is above 0.
        name: Of the metric.
        dtype: As of keras.metrics.Metric.
    """

    def __init__(
        self, measure: str, classes: int, multi_label: bool = False, name: str | None = None, dtype: Any = None
    ):
        super().__init__(name=name or measure, dtype=dtype)
        self.measure, self.classes, self.multi_label = measure, classes, multi_label
        self.hits, self.labels, self.predictions = (
            self.add_variable((classes,), initializer="zeros", name=name) for name in ("hits", "labels", "predictions")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the images of each class, and those that are predicted as it."""
        if self.multi_label:
            labels = ops.greater(ops.cast(y_true, "float32"), 0.5)
            predictions = ops.greater(y_pred, 0.0)
        else:
            labels = ops.one_hot(ops.argmax(_to_probabilities(y_true, y_pred), axis=-1), self.classes)
            predictions = ops.one_hot(ops.argmax(y_pred, axis=-1), self.classes)
        labels, predictions = ops.cast(labels, self.dtype), ops.cast(predictions, self.dtype)
        weights = 1.0 if sample_weight is None else ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        for counts, images in (
            (self.hits, labels * predictions),
            (self.labels, labels),
            (self.predictions, predictions),
        ):
            counts.assign_add(ops.sum(images * weights, axis=0))

    def result(self) -> Any:
        """Return the mean."""
        has_images = ops.cast(self.labels > 0, self.dtype)
        total = self.labels if self.measure == "balanced_accuracy" else (self.labels + self.predictions) / 2
        values = self.hits / ops.maximum(total, keras.config.epsilon())
        return ops.sum(values * has_images) / ops.maximum(ops.sum(has_images), 1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as Keras saves them."""
        own = {"measure": self.measure, "classes": self.classes, "multi_label": self.multi_label}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kcnn")
def cross_entropy(y_true: Any, y_pred: Any) -> Any:
    """Return the cross-entropy of each image, without label smoothing and class weights."""
    return make_loss(False).call(y_true, y_pred)


@keras.saving.register_keras_serializable("kcnn")
def binary_cross_entropy(y_true: Any, y_pred: Any) -> Any:
    """Return the binary cross-entropy of each image, its mean over the classes, without label smoothing."""
    return make_loss(True).call(y_true, y_pred)


def make_metrics(multi_label: bool, classes: int, others: Sequence[str] = ()) -> list[Any]:
    """Return the metrics of training: accuracy, for multi-label data the mean average precision, and others.

    Args:
        multi_label: Whether labels are 0 or 1 per class.
        classes: Number of classes.
        others: Names of METRICS.
    """
    further = [_make_metric(name, multi_label, classes) for name in others]
    if not multi_label:
        return [make_accuracy(), *further]
    area = MeanAveragePrecision(
        curve="PR", multi_label=True, num_labels=classes, from_logits=True, name="average_precision"
    )
    return [make_accuracy(multi_label), area, *further]


def _make_metric(name: str, multi_label: bool, classes: int) -> Any:
    if name == "cross_entropy":
        return keras.metrics.MeanMetricWrapper(binary_cross_entropy if multi_label else cross_entropy, name=name)
    return ClassAverage(name, classes, multi_label)


def make_loss(
    multi_label: bool, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> keras.losses.Loss:
    """Return the loss: CrossEntropy over all classes, or for multi-label data Keras' binary one of each class."""
    if not multi_label:
        return CrossEntropy(label_smoothing, class_weights)
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)


@check_arguments
def balance_class_weights(labels: Any, classes: int) -> list[float]:
    """Return factors that give each class the same weight in the loss.

    Args:
        labels: Class indices (images,).
        classes: Number of classes.

    Returns:
        Images / (classes * images of the class), for each class.

    Raises:
        ValueError: A label is no class index.
    """
    import numpy as np

    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise wrong_kind("labels", "class indices (images,)", labels)
    check_integer("classes", classes, 1, "a positive integer")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise wrong_value("labels", f"class indices from 0 to {classes - 1}", labels)
    if classes > MAX_CLASSES:
        raise wrong_value("classes", f"at most {MAX_CLASSES:,}", classes)
    counts = np.bincount(labels, minlength=classes)
    return (counts.sum() / (classes * np.maximum(counts, 1))).tolist()
