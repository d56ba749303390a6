"""Budgets of a search: trials, epochs, and the time in which it ran, over its starts and its workers."""

from kcnn.search import job
from kcnn.search.journal import Journal
from kcnn.search.open_scheduler import open_scheduler
from kcnn.search.space import (
    Space,
)
from tests.runs.searches import SPACE, STACK, make_config, run_at_once, search_with


class Clock:
    """A clock that goes on by a number of seconds with each event of a journal."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, add = 1000.0, seconds, Journal.add
        monkeypatch.setattr("kcnn.search.scheduler.time", self)
        monkeypatch.setattr(Journal, "add", lambda journal, event: (self.tick(), add(journal, event)))

    def tick(self):
        self.now += self.seconds

    def monotonic(self):
        return self.now


def test_search_adds_up_the_time_in_which_it_ran_over_its_starts(digits, pretended, tmp_path, monkeypatch):
    Clock(monkeypatch, 1.0)  # a trial of two epochs has four events
    found = search_with(SPACE, digits, tmp_path, time_budget=11, reduction_factor=0)
    assert [t.epochs for t in found.trials] == [2, 2, 2]
    assert len(search_with(SPACE, digits, tmp_path, time_budget=11, reduction_factor=0).trials) == 3
    found = search_with(SPACE, digits, tmp_path, time_budget=13, reduction_factor=0)
    assert [t.epochs for t in found.trials] == [2, 2, 2, 1], "two seconds are left, for its start and an epoch"
    assert found.trials[-1].status == "pruned"


def test_search_counts_the_time_of_parallel_trials_once_and_remembers_it_after_a_kill(digits, tmp_path, monkeypatch):
    clock = Clock(monkeypatch, 0.0)
    config = make_config(time_budget=100, reduction_factor=0)
    prepared = job.prepare_search(SPACE, digits, config, out=tmp_path)
    scheduler = open_scheduler(prepared.space, config, tmp_path)
    proposals = [scheduler.ask(worker) for worker in ("a", "b")]
    clock.now += 60
    for proposal in proposals:
        assert scheduler.tell(proposal.number, 1, 0.5), "60 s, not 120 s"
    clock.now += 1000  # killed, and started again later
    again = open_scheduler(prepared.space, config, tmp_path)
    again.ask("a")
    clock.now += 30
    assert not again.is_spent(2)
    clock.now += 20
    assert again.is_spent(2)


def test_search_ends_when_its_budget_of_trials_or_epochs_is_spent(digits, pretended, tmp_path, monkeypatch):
    found = search_with(SPACE, digits, tmp_path / "epochs", total_epochs=7, reduction_factor=0)
    assert sum(t.epochs for t in found.trials) == 7
    assert found.trials[-1].status == "pruned", "it was stopped early"
    small = Space(STACK, {"conv1.kernel": (3, 5)})
    monkeypatch.setattr("kcnn.search.trial.run_trial", run_at_once)
    assert len(search_with(small, digits, tmp_path / "all", trials=10).trials) == 2, "there are no more"
