"""Charts of several runs: names that do not overlap, and curves over one another."""

import re

import numpy as np

from kcnn.reports.run_charts import render_cost, render_learning_curves
from kcnn.reports.significance import RunRow


def make_run(accuracy, macs):
    return RunRow("folder", "net", "data", accuracy, accuracy - 0.05, accuracy + 0.05, 100, macs * 2, macs, 3, 1.0)


def test_render_cost_writes_the_names_of_equal_runs_below_one_another():
    svg = render_cost([(f"{name} & more", make_run(0.5, 1000)) for name in "abc"], "macs", "MACs")
    heights = [float(y) for y in re.findall(r'<text[^>]*?y="([\d.]+)"[^>]*>. &amp; more', svg)]
    assert len(heights) == 3
    assert min(np.diff(sorted(heights))) > 8
    assert "a &amp; more: 50.00% (45.00% to 55.00%)" in svg


def test_render_learning_curves_draws_the_best_of_many_runs_with_a_legend():
    histories = {
        f"run {n}": [
            {"epoch": e, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": n / 100} for e in (1, 2)
        ]
        for n in range(12)
    }
    curves = render_learning_curves(histories)
    assert [name for _, name in curves["legend"]] == [f"run {n}" for n in range(2, 12)]
    assert curves["omitted"] == 2
    assert render_learning_curves({"a": []}) is None
