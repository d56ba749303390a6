"""The Keras model that kcnn builds: a flat functional model with a card, and maybe classifiers on the side."""

import json
from typing import Any

import keras
from keras import ops

from kcnn.keras_bridge.layers import registered

AUX_LOSS_WEIGHT = 0.3  # weight of each auxiliary loss (arXiv:1409.4842, section 5)


@registered
class Network(keras.Model):
    """A functional model that carries its card, saved with it.

    With auxiliary classifiers (`aux` names them, in the order of the outputs behind the first),
    `fit(x, y)` still takes one label: each adds 0.3 times its loss in training and reports its
    loss and accuracy; in inference the model gives its main output alone.
    """

    def __init__(self, *args: Any, metadata: str = "{}", aux: Any = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._metadata = metadata
        self._aux = tuple(aux)
        self._evaluating = False
        self._side_losses = [keras.metrics.Mean(name=f"{name}_loss") for name in self._aux]
        self._side_accuracies = [keras.metrics.SparseCategoricalAccuracy(name=f"{name}_accuracy") for name in self._aux]

    @property
    def metadata(self) -> dict[str, Any]:
        """What was built: distribution, network, options, changes, classes, input scaling."""
        return json.loads(self._metadata)

    def update_metadata(self, **fields: Any) -> None:
        """Put fields on the card, such as the classes' names."""
        self._metadata = json.dumps({**self.metadata, **fields})

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training or not self._aux else outputs[0]

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        specs = super().compute_output_spec(inputs, training=training, mask=mask)
        return specs if training or not self._aux else specs[0]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        if not self._sides(y_pred):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        total = super().compute_loss(x, y, y_pred[0], sample_weight, training)
        side_loss = _loss(self.loss)
        for logits, loss, accuracy in zip(y_pred[1:], self._side_losses, self._side_accuracies, strict=True):
            total += AUX_LOSS_WEIGHT * side_loss(y, logits, sample_weight)
            loss.update_state(side_loss.call(y, logits), sample_weight)
            accuracy.update_state(_labels(y, logits), logits, sample_weight)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if self._sides(y_pred):
            return super().compute_metrics(x, y, y_pred[0], sample_weight)
        found = super().compute_metrics(x, y, y_pred, sample_weight)
        sides = {metric.name for metric in (*self._side_losses, *self._side_accuracies)}
        return {name: value for name, value in found.items() if name not in sides}

    @property
    def metrics(self) -> list[Any]:
        """Keras' metrics; while it evaluates, without those of the auxiliary classifiers, which have nothing to say."""
        found = super().metrics
        sides = {id(metric) for metric in (*self._side_losses, *self._side_accuracies)} if self._evaluating else ()
        return [metric for metric in found if id(metric) not in sides]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        # Keras takes the metrics of all replicas only where their names are those that the steps report,
        # and averages the replicas' own ones otherwise, however many samples each saw.
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def _sides(self, y_pred: Any) -> bool:
        return bool(self._aux) and isinstance(y_pred, list | tuple)

    def without_aux(self) -> "Network":
        """The same layers without the auxiliary classifiers; the main output stays as it is, to the bit."""
        spec = {**self.metadata["spec"], "aux": False}
        metadata = json.dumps({**self.metadata, "spec": spec})
        return Network(self.inputs[0], self.outputs[0], name=self.name, metadata=metadata)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Keras' export, without auxiliary classifiers."""
        if self._aux:
            return self.without_aux().export(filepath, *args, **kwargs)
        return super().export(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metadata": self._metadata, "aux": list(self._aux)}


class FunctionLoss(keras.losses.Loss):
    """A loss given as a function, with the mean over the batch that Keras gives it."""

    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.function(y_true, y_pred)


def _loss(asked: Any) -> keras.losses.Loss:
    if isinstance(asked, list | dict):
        raise ValueError("a network with auxiliary classifiers is compiled with one loss, which serves them all")
    loss = keras.losses.get(asked)
    return loss if isinstance(loss, keras.losses.Loss) else FunctionLoss(loss)


def _labels(y: Any, logits: Any) -> Any:
    """Class numbers, of class numbers or of one row of class probabilities per image."""
    dense = len(y.shape) == len(logits.shape) and y.shape[-1] == logits.shape[-1] != 1
    return ops.argmax(y, axis=-1) if dense else y
