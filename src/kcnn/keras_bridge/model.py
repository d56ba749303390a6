"""The Keras model that kcnn builds: flat, functional, with metadata, and auxiliary classifiers where it has them."""

import io
import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.models.functional import Functional  # the class of functional models has no public name

from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import parse_json
from kcnn.graph.callers import warn_caller
from kcnn.keras_bridge.keras_graph import output_activation
from kcnn.keras_bridge.layer_modules import import_layers
from kcnn.keras_bridge.layers import registered
from kcnn.keras_bridge.loss_contract import LogitsWarning, expects_logits, find_misread_logits
from kcnn.keras_bridge.metadata import has_classes, parse_metadata
from kcnn.keras_bridge.optimizer_steps import build_metrics, build_optimizer, fuse_updates
from kcnn.keras_bridge.pixel_range import PixelRangeWarning, describe_scaled_pixels
from kcnn.keras_bridge.pointwise import training_step, use_matmul
from kcnn.keras_bridge.registered_gradients import release_functions
from kcnn.keras_bridge.saved_config import add_hints, remove_hints

SMALLEST = 1e-37  # probability whose logarithm float32 has
CLONED = "_kcnn_cloned"  # attribute of a Keras tensor: metadata and aux of the network whose layers computed it
BUILT: ContextVar[list["Network"] | None] = ContextVar("BUILT", default=None)  # what the next config is built as, once
AUX_LOSS_WEIGHT = 0.3  # weight of each auxiliary loss (arXiv:1409.4842, section 5)


class QuickModel(keras.Model):
    """A functional model that computes an array of at most one batch without the loop of Keras' `predict`.

    In Keras' files it has the name of Keras' own functional model.
    """

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as Keras does; at most one batch without its loop, which takes longer than a small network.

        Its progress bar is then left out, too; `verbose=1` shows it.
        """
        batch = self._find_only_batch(args, kwargs)
        return super().predict(*args, **kwargs) if batch is None else self.predict_on_batch(batch)

    def __reduce__(self) -> Any:
        """Pickle as Keras does, but by a function of kcnn: Keras knows the layers and losses once it is imported."""
        _, (file,) = super().__reduce__()
        metadata = vars(self).get("metadata")  # of an optimized model; that of a network is in its config
        return unpickle_model, (file, metadata and json.dumps(metadata))

    def _find_only_batch(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.ndarray | None:
        """The array that `predict` is called with if one step on one device computes it, in the type of its batches."""
        given = {**kwargs, **dict(zip(("x", "batch_size", "verbose"), args, strict=False))}
        x = given.get("x")
        # For other shapes TensorFlow would make one function that takes any, and computes any number of channels.
        if not isinstance(x, np.ndarray) or len(self.inputs) > 1 or x.shape[1:] != self.inputs[0].shape[1:]:
            return None
        if not 0 < len(x) <= (given.get("batch_size") or 32):
            return None
        is_plain = len(given) == len(args) + len(kwargs) and not given.keys() - {"x", "batch_size", "verbose"}
        if not is_plain or given.get("verbose", 0) not in (0, "auto"):
            return None
        strategy = getattr(self, "distribute_strategy", None)  # of TensorFlow
        if keras.distribution.distribution() is not None or (strategy and strategy.num_replicas_in_sync > 1):
            return None
        return x.astype(keras.config.floatx(), copy=False) if x.dtype.kind == "f" else x


@registered
class Network(QuickModel):
    """A functional model whose spec and metadata are saved with it.

    With auxiliary classifiers `fit(x, y)` still takes one label: each adds 0.3 times its loss in training and reports
    its loss and accuracy. In inference the model returns its main output only.

    In Keras' files it has the name of Keras' own functional model, so that Keras opens it where kcnn is not imported
    and no layer needs it.

    Args:
        *args: Inputs and outputs, as of keras.Model.
        metadata: The metadata as JSON text; by default that of the model that is cloned, if any.
        aux: Names of the auxiliary classifiers, in the order of the outputs after the first; by default likewise.
        **kwargs: As of keras.Model.
    """

    def __init__(self, *args: Any, metadata: str | None = None, aux: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for layer in self.layers:
            use_matmul(layer)
        # keras.models.clone_model passes tensors and a name alone
        cloned_metadata, cloned_aux = getattr(self.outputs[0], CLONED, ("{}", ()))
        self._metadata = cloned_metadata if metadata is None else metadata
        self._aux = tuple(cloned_aux if aux is None else aux)
        self._evaluating = False
        self._checks_pixels = True
        self._takes_log = ""  # the activation whose probabilities are turned back into logits for the loss
        self._aux_losses = [keras.metrics.Mean(name=f"{name}_loss") for name in self._aux]
        self._aux_accuracies = [keras.metrics.SparseCategoricalAccuracy(name=f"{name}_accuracy") for name in self._aux]

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata as JSON values: spec, distribution, classes, scaling of pixels, facts of its training."""
        return parse_json(self._metadata)

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

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile as Keras does, and warn where the loss would take logits for probabilities.

        A loss of logits, such as keras.losses.SparseCategoricalCrossentropy(from_logits=True), also gets logits from a
        network that was built with an `activation`.
        """
        self._compile(*args, **kwargs)
        metadata, loss = self.metadata, kwargs.get("loss", args[1] if len(args) > 1 else None)
        if metadata and has_classes(metadata) and (advice := find_misread_logits(self, loss)):
            warn_caller(f"{self.name}: {advice}", LogitsWarning)

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as saved; Keras' own method does not for a class with a `compile` of its own."""
        self._compile(**keras.saving.deserialize_keras_object(dict(config)))
        if self.built and self.optimizer:
            self.optimizer.build(self.trainable_variables)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model as Keras does, and warn once of images that are scaled already."""
        self._check_pixels(args)
        return super().__call__(*args, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as Keras does, and warn once of images that are scaled already."""
        self._check_pixels(args or [kwargs.get("x")])
        with release_functions():
            return super().fit(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Take a training step as Keras does; what TensorFlow traced for it is released with the network."""
        with release_functions():
            return super().train_on_batch(*args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        """Take a training step as Keras does; TensorFlow traces it once."""
        if self.optimizer is not None:
            build_optimizer(self.optimizer, self.trainable_variables)
        return super().train_step(*args)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as QuickModel does, and warn once of images that are scaled already."""
        self._check_pixels(args or [kwargs.get("x")])
        return super().predict(*args, **kwargs)

    def _check_pixels(self, arguments: Sequence[Any]) -> None:
        """Warn of the first array of images that is scaled already; the warning is of the line that called."""
        if not arguments or not self._checks_pixels:
            return
        if (problem := describe_scaled_pixels(arguments[0])) and self.metadata:
            self._checks_pixels = False
            warn_caller(f"{self.name}: {problem}", PixelRangeWarning)

    def _compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)
        fuse_updates(self.optimizer)
        is_probable = not self._aux and len(self.outputs) == 1 and expects_logits(self.loss)
        self._takes_log = (output_activation(self.outputs[0]) or "") if is_probable else ""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Compute the outputs; in inference the main output only."""
        with training_step(training):
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
        if self._takes_log:
            y_pred = _to_logits(y_pred, self._takes_log)
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
        main = y_pred[0] if self._has_aux(y_pred) else y_pred
        build_metrics(self._compile_metrics, y, main)
        if self._has_aux(y_pred):
            return super().compute_metrics(x, y, main, sample_weight)
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
        self._check_pixels(args or [kwargs.get("x")])
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
        return Network(self.inputs[0], self.outputs[0], name=self.name, metadata=metadata, aux=())

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Export the model as Keras does, without auxiliary classifiers."""
        if self._aux:
            return self.without_aux().export(filepath, *args, **kwargs)
        return super().export(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the config of a functional model with the metadata, of which Keras alone takes no notice."""
        config = {**super().get_config(), "metadata": self._metadata, "aux": list(self._aux)}
        return add_hints(config, self.metadata.get("distribution"))

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Network":
        """Return the model of a config; the plugin of its layers is imported."""
        if built := BUILT.get():
            return built.pop()
        metadata = parse_metadata(config, config["name"])
        if metadata.get("modules"):
            import_layers(metadata, config["name"])
        return super().from_config(remove_hints(config), custom_objects)

    def _run_through_graph(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super()._run_through_graph(*args, **kwargs)
        for output in keras.tree.flatten(outputs):
            if keras.backend.is_keras_tensor(output):
                setattr(output, CLONED, (self._metadata, self._aux))
        return outputs


def unpickle_model(file: io.BytesIO, metadata: str | None) -> Any:
    """Return the model of a pickle, which may be of another process.

    Args:
        file: Content of a .keras file.
        metadata: Metadata that is not in the file, as JSON text.

    Returns:
        The model, of the class and compiled as it was pickled.
    """
    with keras.saving.custom_object_scope({Functional.__name__: QuickModel}):
        model = Functional._unpickle_model(file)
    if metadata:
        model.metadata = parse_json(metadata)
    return model


for one in (QuickModel, Network):
    one.__module__, one.__qualname__, one.__name__ = Functional.__module__, "Functional", "Functional"


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


def _to_logits(probabilities: Any, activation: str) -> Any:
    """Logits whose softmax or sigmoid the probabilities are."""
    if activation == "softmax":
        return ops.log(ops.maximum(probabilities, SMALLEST))
    return ops.log(ops.maximum(probabilities, SMALLEST)) - ops.log(ops.maximum(1 - probabilities, SMALLEST))


def _to_class_numbers(y: Any, logits: Any) -> Any:
    """Class numbers, of class numbers or of one row of class probabilities per image."""
    is_row = len(y.shape) == len(logits.shape) and y.shape[-1] == logits.shape[-1] != 1
    return ops.argmax(y, axis=-1) if is_row else y
