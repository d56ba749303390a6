"""The time left of a run: after its first steps, without the time of the first one, which compiles."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from kcnn.cli import progress
from kcnn.cli.progress import RunBar
from kcnn.graph.formatting import format_duration


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_run_bar_states_the_time_left_after_the_first_steps(clock):
    stream = io.StringIO()
    bars = Progress(console=Console(file=stream), get_time=lambda: clock[0], speed_estimate_period=600)
    bar = RunBar(bars)
    bar.set_params({"epochs": 10, "steps": 100})
    bar.on_epoch_begin(0)
    clock[0] = 60.0  # the first step compiles
    bar.on_train_batch_end(0, {"loss": 1.0})
    assert bars.tasks[-1].time_remaining is None
    clock[0] = 62.0
    bar.on_train_batch_end(1, {"loss": 1.0})
    assert bars.tasks[-1].time_remaining == 2 * 998
    assert stream.getvalue() == ""
    for step in (2, 3, 4):
        clock[0] += 2.0
        bar.on_train_batch_end(step, {"loss": 1.0})
    assert stream.getvalue().splitlines() == ["about 33 min left for all epochs, without validation"]


def test_run_bar_of_slow_steps_has_an_estimate_after_two(clock):
    bars = Progress(console=Console(file=io.StringIO()), get_time=lambda: clock[0], speed_estimate_period=600)
    bar = RunBar(bars)
    bar.set_params({"epochs": 2, "steps": 3})
    bar.on_epoch_begin(0)
    for step in range(3):
        clock[0] += 50.0
        bar.on_train_batch_end(step, {"loss": 1.0})
    assert bars.tasks[-1].time_remaining == 150


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (720, "12 min"), (11_100, "3 h 5 min")])
def test_format_duration_has_two_units_at_most(seconds, text):
    assert format_duration(seconds) == text
