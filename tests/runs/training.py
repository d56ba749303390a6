"""Training as short tests write it: fields of ModelSpec and TrainConfig side by side."""

import logging
from dataclasses import fields as fields_of

from kcnn import ModelSpec
from kcnn.training import TrainConfig, train


def train_with(network, data, *, out, callbacks=(), log=None, **fields):
    """Train with fields of ModelSpec and TrainConfig side by side, as short tests write them."""
    of_spec = {f.name for f in fields_of(ModelSpec)}
    spec = ModelSpec(network=network, **{name: value for name, value in fields.items() if name in of_spec})
    config = TrainConfig(**{"recipe": "quick", **{name: fields[name] for name in fields if name not in of_spec}})
    log = log or logging.getLogger("kcnn.training").info
    return train(spec, data, config, out=out, callbacks=callbacks, log=log)
