"""Training as short tests write it: fields of ModelSpec and TrainConfig side by side; a request, and its history."""

import csv
import logging
from dataclasses import fields as fields_of

import keras

from kcnn import ModelSpec
from kcnn.training import TrainConfig, train
from kcnn.training.run_directory import UNLIKE

REQUEST = {"input_shape": (28, 28, 1), "epochs": 4, "seed": 3, "learning_rate": 1e-3}


class Stopped(keras.callbacks.Callback):
    """Ends a training as a kill does, at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def train_with(network, data, *, out, callbacks=(), log=None, **fields):
    """Train with fields of ModelSpec and TrainConfig side by side, as short tests write them."""
    of_spec = {f.name for f in fields_of(ModelSpec)}
    spec = ModelSpec(network=network, **{name: value for name, value in fields.items() if name in of_spec})
    config = TrainConfig(**{"recipe": "quick", **{name: fields[name] for name in fields if name not in of_spec}})
    log = log or logging.getLogger("kcnn.training").info
    return train(spec, data, config, out=out, callbacks=callbacks, log=log)


def history(folder):
    """What a seed fixes of a history, as it is written."""
    with (folder / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in UNLIKE} for row in csv.DictReader(file)]
