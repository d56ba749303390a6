"""The benchmark of default trainings gives each recipe the same processor time."""

import time

from benchmarks.defaults import count_epochs


def test_count_epochs_heeds_later_epochs_and_not_what_compiles():
    """The first epoch of a training takes long, and once took longer than the rest of a longer training."""

    def train(seed, epochs, callbacks):
        for epoch in range(epochs):
            end = time.process_time() + (0.05 if epoch else 0.5)
            while time.process_time() < end:
                pass
            for callback in callbacks:
                callback.on_epoch_end(epoch, {})

    assert 8 <= count_epochs(train, 0.5) <= 11
