"""The report of a run, or of a comparison of protocols: one self-contained HTML file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import kcnn
from kcnn import classification
from kcnn.atomic_io import parse_json, write_text
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.formatting import to_printable
from kcnn.plots.figures import save_figure
from kcnn.plots.network.folding import fold_blocks
from kcnn.reports import charts, experiments, run_images
from kcnn.reports.score_curves import ClassCurves, compute_curves, render_curves
from kcnn.reports.search_page import write_search_report
from kcnn.reports.templates import render
from kcnn.run_folders import EXPERIMENT, SEARCH, TRANSFER, RunNotFoundError, resolve_run
from kcnn.statistics import describe_adjustment, wilson_interval
from kcnn.training import evidence, run_directory, run_schema
from kcnn.training.evidence import TestEvidence
from kcnn.training.fold_scores import CrossValidation

PAGE = "report.html"
MAX_CLASSES = 40  # of a confusion matrix on the page
LONG_NAME = 8  # characters, from which the names of columns are turned
TINY = 96  # pixels, below which enlarged images show their pixels


@check_arguments
def write_report(folder: str | Path, to: str | Path | None = None) -> Path:
    """Write the report of a finished run, a comparison of protocols, a search, an experiment or a folder of runs.

    Args:
        folder: The folder.
        to: The file; report.html in the folder where it is None.

    Returns:
        The file.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        ValueError: A file of the folder is damaged, or `to` is a folder.
    """
    root = Path(folder)
    if (root / SEARCH).exists():
        return write_search_report(root, to)
    target = Path(to) if to else root / PAGE
    if target.is_dir():
        raise ValueError(f"{target} is a folder; the page is a file, such as {target / PAGE}")
    if (root / TRANSFER).exists():
        page = _render_comparison(root)
    elif (root / run_directory.METRICS).exists() and not (root / EXPERIMENT).exists():
        page = _render_run(root)
    else:
        page = experiments.write_page(root)
    write_text(target, page)
    return target


def needs_keras(folder: str | Path) -> bool:
    """Return whether the report of a folder needs Keras: for Grad-CAM that no earlier report has left.

    Args:
        folder: As of `write_report`.
    """
    try:
        run = resolve_run(folder).path
        tested = evidence.read_evidence(run) if _is_page_of_a_run(Path(folder)) else None
    except (RunNotFoundError, ValueError):  # which the report explains
        return False
    return tested is not None and len(tested.mistakes) > 0 and run_images.read_heatmaps(run, tested.mistakes) is None


def _is_page_of_a_run(root: Path) -> bool:
    """Whether the report of a folder is that of one run: of a run, or of the best one of a transfer."""
    if (root / SEARCH).exists() or (root / EXPERIMENT).exists():
        return False
    return (root / TRANSFER).exists() or (root / run_directory.METRICS).exists()


@check_arguments
def write_experiment_report(
    folder: str | Path,
    text: str,
    *,
    results: Mapping[str, Any] | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> Path:
    """Write the report of an experiment into its folder: the figures, results (JSON) and runs that it holds.

    Args:
        folder: Folder of the experiment.
        text: A recipe's docstring; its first line, the question, is the title.
        results: Values for JSON, also frozen records, by file name without ".json"; to write into the folder first.
        figures: Figures by file name without ".png", to write into the folder first.

    Returns:
        The file, report.html.
    """
    root = Path(folder)
    for name, values in (results or {}).items():
        write_text(root / f"{name}.json", json.dumps(values, indent=1, default=asdict))
    for name, figure in (figures or {}).items():
        save_figure(figure, root / f"{name}.png")
    experiments.save_experiment(root, text)
    return write_report(root)


def _render_run(root: Path, **values: Any) -> str:
    metrics, history = run_directory.read_results(root)
    tested = evidence.read_evidence(root)
    classes, request = list(metrics["per_class"]), metrics["request"]
    matrix = _compute_matrix(metrics, classes)
    images = run_images.RunImages(root, metrics, tested)
    curves, areas = compute_curves(tested.logits, tested.truth, classes) if tested else ([], {})
    shape = request["input_shape"]
    defaults = {
        "title": f"{request['spec']['network']} on {request['data']}",
        "metrics": metrics,
        "request": request,
        "cross_validation": CrossValidation(**folds) if (folds := metrics.get("cross_validation")) else None,
        "accuracy": _estimate_share(metrics["correct"], metrics["test_images"]),
        "classes": [to_printable(name) for name in classes],
        "has_long_names": max(map(len, classes)) > LONG_NAME,
        "is_tiny": max(shape[:2]) < TINY,
        "per_class": _list_classes(metrics, curves),
        "mean_precision": classification.format_mean_precision(metrics)
        if "mean_average_precision" in metrics
        else None,
        "areas": areas,
        "matrix": matrix,
        "confusions": [] if matrix or not tested else images.list_confusions(),
        "curves": charts.render_curves(history, metrics["best_epoch"]),
        "score_curves": render_curves(curves, multi_label=request["multi_label"]) if curves else None,
        "calibration": _render_calibration(metrics, tested),
        "samples": images.embed_samples() if matrix else [],
        "drawn": images.embed_drawn(),
        "mistakes": images.embed_mistakes(),
        "counts": images.count_images(),
        "examples": (examples := images.embed_examples()),
        "most_examples": max((len(group) for _, group in examples), default=0),
        **_draw_network(request, classes),
        "maps": run_images.render_grad_cam(root, tested) if tested else [],
        "command": metrics["command"],
        "versions": metrics["versions"],
    }
    return render("page.html", **{**defaults, **values})


def _render_comparison(root: Path) -> str:
    """The page of the best run of a comparison of protocols, with their results above it."""
    path = root / TRANSFER
    try:
        comparison = parse_json(path.read_text(encoding="utf-8"))
        if problem := next(run_schema.find_mismatches(comparison, run_schema.TRANSFER), None):
            raise KeyError(problem)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged, or of an older version of kcnn ({error.args[0]}); run kcnn transfer again"
        ) from None
    comparison = run_directory.check_values(path, comparison, "run kcnn transfer again, which trains nothing twice")
    best, seeds = root / comparison["best"], len(comparison["seeds"])
    protocols, differences = comparison["results"], comparison["differences"]
    request = run_directory.read_metrics(best)["request"]
    return _render_run(
        best,
        title=f"{request['spec']['network']} fine-tuned on {request['data']}",
        protocols=protocols,
        seeds=seeds,
        differences=differences,
        adjustment=describe_adjustment(len(differences)),
        heading=f"{best.name.capitalize()} network, {best.parent.name.replace('-', ' ')}",
        chart=charts.render_protocols(protocols),
        grad_cam=[experiments.embed_image(path) for path in sorted((root / "grad_cam").glob("*.png"))],
        runs=experiments.list_rows(root),
    )


def _estimate_share(count: int, total: int) -> dict[str, float]:
    low, high = wilson_interval(count, total)
    return {"share": count / total, "low": low, "high": high}


def _list_classes(metrics: Mapping[str, Any], curves: Sequence[ClassCurves]) -> list[dict[str, Any]]:
    """A row for each class, with the 95% interval of its recall, and its areas below curves where they are known."""
    areas = {one.name: {"auc": one.auc, "average_precision": one.average_precision} for one in curves}
    rows = []
    for name, row in metrics["per_class"].items():
        interval = wilson_interval(round(row["recall"] * row["images"]), row["images"]) if row["images"] else None
        rows.append({"name": name, "interval": interval, "auc": None, **areas.get(name, {}), **row})
    return rows


def _compute_matrix(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Counts and rates of true (rows) and predicted classes (columns); empty if there are too many classes to read."""
    counts = metrics.get("confusion")
    if not counts or len(classes) > MAX_CLASSES:
        return []
    return [[{"count": n, "rate": n / max(1, sum(row))} for n in row] for row in counts]


def _render_calibration(metrics: Mapping[str, Any], tested: TestEvidence | None) -> dict[str, Any] | None:
    if tested is None or "mean_average_precision" in metrics:
        return None
    probabilities = classification.to_probabilities(tested.logits, {})
    is_correct = probabilities.argmax(axis=-1) == tested.truth
    chart, error = charts.render_calibration(probabilities.max(axis=-1), is_correct)
    return {"chart": chart, "error": error}


def _draw_network(request: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """The figure of the network as it was trained; the reason, if its plugin is not installed any more."""
    try:
        spec = kcnn.ModelSpec.from_json({k: v for k, v in request["spec"].items() if k not in ("aux", "weights")})
        graph = replace(spec, input_shape=request["input_shape"], classes=len(classes)).trace()
    except (ValueError, ImportError) as error:
        return {"no_drawing": str(error)}
    return {"drawing": fold_blocks(graph)}
