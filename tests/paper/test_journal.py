"""The journal of a search, whole or damaged, and which trials are stopped early."""

import pytest

from kcnn.search.journal import Journal
from kcnn.search.successive_halving import SuccessiveHalving


def test_successive_halving_stops_a_trial_outside_the_best_third_so_far():
    rule = SuccessiveHalving(3, 10)
    assert rule.rungs == (1, 3, 9)
    assert rule.should_continue(0, 1, 0.5)
    assert rule.should_continue(1, 1, 0.1), "two are too few to compare"
    assert not rule.should_continue(2, 1, 0.4), "the second of three"
    assert rule.should_continue(3, 1, 0.6)
    assert rule.should_continue(2, 2, 0.0), "no rung after epoch 2"
    assert SuccessiveHalving(0, 10).rungs == ()


def test_journal_cuts_off_a_truncated_line_and_rejects_another_file(tmp_path):
    journal = Journal(tmp_path)
    journal.add({"event": "start", "trial": 0, "worker": "w", "values": {}})
    with journal.path.open("ab") as file:
        file.write(b'{"event": "sta')
    assert len(Journal(tmp_path, read_only=True).events) == 1
    assert Journal(tmp_path).events == journal.events
    assert journal.path.read_bytes().endswith(b"}\n")
    journal.path.write_text('{"event": "start", "trial": 0}\n')
    with pytest.raises(ValueError, match="is damaged from its first line on, or was written by another version"):
        Journal(tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda line: line.replace(b"0.25", b"0.95"), lambda line: line[:9] + b"\xff" + line[9:]]
)
def test_journal_resumes_before_a_damaged_line_and_keeps_the_file(damage, tmp_path):
    journal = Journal(tmp_path)
    for score in (0.5, 0.25, 0.75):
        journal.add({"event": "epoch", "trial": 0, "score": score})
    first, second, third = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(damaged := first + damage(second) + third)
    with pytest.warns(UserWarning, match=r"line 2 of 3 is damaged; the events before it are read"):
        assert Journal(tmp_path, read_only=True).events == journal.events[:1]
    with pytest.warns(
        UserWarning, match=r"line 2 of 3 is damaged; the search resumes after .* kept as journal-damaged"
    ):
        assert Journal(tmp_path).events == journal.events[:1]
    assert journal.path.read_bytes() == first
    assert (tmp_path / "journal-damaged.jsonl").read_bytes() == damaged
