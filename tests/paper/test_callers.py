"""Warnings point at the line of the program that called kcnn."""

import re
import threading
import warnings
from pathlib import Path

import pytest

import kcnn
from kcnn.graph.callers import warn_caller

SOURCES = Path(kcnn.__file__).parents[1]
UNUSED = {"c1.kernel": 5}


@pytest.mark.parametrize(
    "call",
    [
        lambda: kcnn.trace("lenet5", overrides=UNUSED),
        lambda: kcnn.summary("lenet5", overrides=UNUSED),
        lambda: kcnn.summary(kcnn.ModelSpec(network="lenet5", overrides=UNUSED)),
        lambda: kcnn.ModelSpec(network="lenet5", overrides=UNUSED).trace(),
        lambda: kcnn.diff("lenet5", kcnn.ModelSpec(network="lenet5", overrides=UNUSED)),
    ],
    ids=["trace", "summary", "summary_of_spec", "method", "diff"],
)
def test_an_override_without_effect_is_warned_of_at_the_line_of_the_caller(call):
    with pytest.warns(kcnn.NoEffectWarning) as caught:
        call()
    assert {(one.filename, one.lineno) for one in caught} == {(__file__, call.__code__.co_firstlineno)}


def test_warn_caller_in_a_thread_of_kcnn_warns_there():
    scope = {"__name__": "kcnn.there", "warn_caller": warn_caller}
    exec(compile("def work(): warn_caller('done')", "there.py", "exec"), scope)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=scope["work"])
        thread.start()
        thread.join()
    assert [str(one.message) for one in caught] == ["done"]


def test_sources_warn_by_warn_caller_alone():
    pattern = re.compile(r"warnings\.warn\(")
    found = [
        path.relative_to(SOURCES)
        for name in ("kcnn", "kcnn_plugins")
        for path in sorted((SOURCES / name).rglob("*.py"))
        if pattern.search(path.read_text())
    ]
    assert not found, "a decorator in between makes any stacklevel wrong: use kcnn.graph.callers.warn_caller"
