"""Experiments: variants measured with several seeds, their plots and their report."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from kcnn.plots import figures
from kcnn.reports import write_experiment_report
from kcnn.statistics import PairedDifference, compare_paired
from kcnn.training import measure_variants, name_run_folder


def test_measure_variants_gives_all_variants_the_data_of_a_seed():
    loaded, lines = [], []

    def load(seed):
        loaded.append(seed)
        return 10 * seed

    results = measure_variants(
        ["a", "b"], range(1, 3), load, lambda name, data, seed: (name, data, seed), describe=str, log=lines.append
    )
    assert results == {"a": [("a", 10, 1), ("a", 20, 2)], "b": [("b", 10, 1), ("b", 20, 2)]}
    assert loaded == [1, 2]
    assert lines[1] == "seed 1, b: ('b', 10, 1)"
    assert len(lines) == 4


def test_measure_variants_clears_the_models_of_a_measurement():
    import keras

    names = measure_variants(
        ["a", "b"], [0], lambda seed: None, lambda *_: keras.layers.Dense(1).name, describe=str, log=lambda line: None
    )
    assert names["a"] == names["b"], "Keras counts layers of a process from the beginning again"


def test_name_run_folder_by_seed_and_variant():
    assert name_run_folder(Path("out"), 3, "head only") == Path("out/seed-3/head-only")


def test_plot_differences_marks_those_that_are_not_significant():
    rows = {"one": PairedDifference(2, 1, 3, 0.01, True), "two": PairedDifference(-1, -3, 1, 0.2, False)}
    axes = figures.plot_differences(rows, "points of test accuracy").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    first, dot, second, _, zero = axes.lines
    assert list(first.get_xdata()) == [1, 3]
    assert list(dot.get_xdata()) == [2]
    assert to_rgba(first.get_color()) == to_rgba("steelblue")
    assert list(second.get_xdata()) == [-3, 1]
    assert to_rgba(second.get_color()) == to_rgba("silver")
    assert set(zero.get_xdata()) == {0}
    assert axes.yaxis_inverted(), "the first row is at the top"
    assert axes.get_xlabel() == "points of test accuracy, 95% interval (gray: not significant)"


def test_plot_means_in_percent():
    axes = figures.plot_means({"one": [0.5, 0.7]}, "test accuracy").axes[0]
    seeds, interval, mean = axes.lines
    assert list(seeds.get_xdata()) == pytest.approx([50, 70])
    assert list(mean.get_xdata()) == pytest.approx([60])
    assert list(interval.get_xdata()) == [0, 100]  # error 10, t 12.7, clipped
    low, high = axes.get_xlim()
    assert (low, high) == (0, 100), "no accuracy is outside"


def test_draw_band_of_means_inside_0_and_1():
    axes = Figure().subplots()
    figures.draw_band(axes, [0, 1], np.array([[0.5, 0.2], [0.5, 0.4]]), "network")
    (curve,) = axes.lines
    assert list(curve.get_ydata()) == pytest.approx([0.5, 0.3])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)  # 0.3 with an error of 0.1 and t 12.7, clipped
    assert axes.get_ylim() == (0, 1)


def test_write_experiment_report_writes_records_and_figures(tmp_path):
    figure = figures.plot_means({"one": [0.5, 0.7]}, "test accuracy")
    results = {"numbers": {"differences": {"one vs. two": compare_paired([0.02, 0.04], 0)}}}
    page = write_experiment_report(tmp_path, "Is it better? A test.", results=results, figures={"means": figure})
    record = json.loads((tmp_path / "numbers.json").read_text())["differences"]["one vs. two"]
    assert (record["points"], record["significant"]) == (pytest.approx(3), False)
    assert (tmp_path / "means.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert 'alt="test accuracy, %: seeds, mean, 95% interval"' in text
    assert '<th scope="row">one vs. two</th>' in text
