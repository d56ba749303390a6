"""A small space on digits of 8x8 pixels, searches of it by keyword, and trials without a training."""

import json
from dataclasses import fields

from kcnn import ModelSpec, TrainConfig
from kcnn.search import SearchConfig, search, trial
from kcnn.search.space import Range, Space

STACK = ModelSpec(network="stack", input_shape=(8, 8, 1))
SPACE = Space(
    STACK,
    {
        "conv1.kernel": (3, 5, (3, 5)),
        "conv1.stride": (1, 2),
        "conv*.padding": ("same", "valid"),
        "depth": (2, 3),
        "conv3.kernel": (1, 3),  # where the depth is 3
    },
    training={"learning_rate": Range(1e-3, 1e-2, log=True)},
)
UNLIKE = ("seconds", "starts", "worker")


def make_config(**values):
    """A SearchConfig from its fields and those of its TrainConfig; two epochs and no final training by default."""
    names = {field.name for field in fields(TrainConfig)}
    train = {name: value for name, value in values.items() if name in names}
    rest = {name: value for name, value in values.items() if name not in names}
    return SearchConfig(**{"final_seeds": 0, **rest}, train=TrainConfig(**{"epochs": 2, **train}))


def search_with(space, data, out, *, on_trial_end=lambda trial: None, **values):
    """A search without messages."""
    return search(space, data, make_config(**values), out=out, on_trial_end=on_trial_end, log=lambda text: None)


def run_at_once(settings, number, candidate, *, epochs, should_continue, resume_from=None):
    """A trial with the same score whatever its values."""
    should_continue(1, 0.5)
    return trial.Outcome("ok", 1.0)


def read_rows(folder):
    """The trials of a search without what depends on the clock and the processes."""
    lines = (folder / "trials.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in UNLIKE} for line in lines]
