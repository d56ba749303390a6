"""The Keras model that kcnn builds: flat, functional, with metadata, and auxiliary classifiers where it has them."""

import json
from typing import Any

import keras
from keras import ops

from kcnn.architectures.spec import ModelSpec
from kcnn.keras_bridge.layers import registered

AUX_LOSS_WEIGHT = 0.3  # weight of each auxiliary loss (arXiv:1409.4842, section 5)


@registered
class Network(keras.Model):
    """A functional model whose spec and metadata are saved with it.

    With auxiliary classifiers `fit(x, y)` still takes one label: each adds 0.3 times its loss in training and reports
    its loss and accuracy. In inference the model returns its main output only.

    Args:
        *args: Inputs and outputs, as of keras.Model.
        metadata: The metadata as JSON text.
        aux: Names of the auxiliary classifiers, in the order of the outputs after the first.
        **kwargs: As of keras.Model.
    """

    def __init__(self, *args: Any, metadata: str = "{}", aux: Any = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._metadata = metadata
        self._aux = tuple(aux)
        self._evaluating = False
        self._aux_losses = [keras.metrics.Mean(name=f"{name}_loss") for name in self._aux]
        self._aux_accuracies = [keras.metrics.SparseCategoricalAccuracy(name=f"{name}_accuracy") for name in self._aux]

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata as JSON values: spec, distribution, classes, scaling of pixels, facts of its training."""
        return json.loads(self._metadata)

    @property
    def spec(self) -> ModelSpec:
        """The spec that builds this network again."""
        return ModelSpec.from_json(self.metadata["spec"])

    def update_metadata(self, **fields: Any) -> None:
        """Set fields of the metadata, such as the names of the classes.

        Args:
            **fields: JSON values by name.
        """
        self._metadata = json.dumps({**self.metadata, **fields})

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Compute the outputs; in inference the main output only."""
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training or not self._aux else outputs[0]

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Return the symbolic outputs; in inference the main output only."""
        specs = super().compute_output_spec(inputs, training=training, mask=mask)
        return specs if training or not self._aux else specs[0]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Add 0.3 times the loss of each auxiliary classifier to the main loss."""
        if not self._has_aux(y_pred):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        total = super().compute_loss(x, y, y_pred[0], sample_weight, training)
        aux_loss = _to_loss(self.loss)
        for logits, loss, accuracy in zip(y_pred[1:], self._aux_losses, self._aux_accuracies, strict=True):
            total += AUX_LOSS_WEIGHT * aux_loss(y, logits, sample_weight)
            loss.update_state(aux_loss.call(y, logits), sample_weight)
            accuracy.update_state(_to_class_numbers(y, logits), logits, sample_weight)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Compute the metrics on the main output."""
        if self._has_aux(y_pred):
            return super().compute_metrics(x, y, y_pred[0], sample_weight)
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        aux = {metric.name for metric in (*self._aux_losses, *self._aux_accuracies)}
        return {name: value for name, value in results.items() if name not in aux}

    @property
    def metrics(self) -> list[Any]:
        """Keras' metrics; in `evaluate` without those of the auxiliary classifiers, which are not computed."""
        metrics = super().metrics
        aux = {id(metric) for metric in (*self._aux_losses, *self._aux_accuracies)} if self._evaluating else ()
        return [metric for metric in metrics if id(metric) not in aux]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Keras does, without metrics of the auxiliary classifiers."""
        # Keras takes the metrics of all replicas only where their names are those that the steps report,
        # and averages the replicas' own ones otherwise, however many samples each saw.
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def _has_aux(self, y_pred: Any) -> bool:
        return bool(self._aux) and isinstance(y_pred, list | tuple)

    def without_aux(self) -> "Network":
        """Return a model of the same layers without auxiliary classifiers; the main output is the same to the bit."""
        spec = {**self.metadata["spec"], "aux": False}
        metadata = json.dumps({**self.metadata, "spec": spec})
        return Network(self.inputs[0], self.outputs[0], name=self.name, metadata=metadata)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Export the model as Keras does, without auxiliary classifiers."""
        if self._aux:
            return self.without_aux().export(filepath, *args, **kwargs)
        return super().export(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the config, with the metadata."""
        return {**super().get_config(), "metadata": self._metadata, "aux": list(self._aux)}


class FunctionLoss(keras.losses.Loss):
    """A loss given as a function, averaged over the batch as Keras does.

    Args:
        function: Computes one loss per image from (y_true, y_pred).
    """

    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return one loss per image."""
        return self.function(y_true, y_pred)


def _to_loss(loss: Any) -> keras.losses.Loss:
    if isinstance(loss, list | dict):
        raise ValueError("a network with auxiliary classifiers expects one loss for all its outputs, got several")
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else FunctionLoss(loss)


def _to_class_numbers(y: Any, logits: Any) -> Any:
    """Class numbers, of class numbers or of one row of class probabilities per image."""
    is_row = len(y.shape) == len(logits.shape) and y.shape[-1] == logits.shape[-1] != 1
    return ops.argmax(y, axis=-1) if is_row else y
