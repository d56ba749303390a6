"""The report of a run, or of a comparison of protocols: one self-contained HTML file."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import kcnn
from kcnn import statistics
from kcnn.atomic_io import write_text
from kcnn.graph.argument_kinds import check_arguments
from kcnn.plots.figures import overlay_heatmap, save_figure
from kcnn.plots.network.folding import fold_blocks
from kcnn.reports import charts, experiments
from kcnn.reports.search_page import write_search_report
from kcnn.reports.templates import embed_image_bytes, render
from kcnn.run_folders import SEARCH, TRANSFER
from kcnn.statistics import wilson_interval
from kcnn.training import evidence, run_directory
from kcnn.training.evidence import TestEvidence

PAGE = "report.html"
MAX_CLASSES = 40  # of a confusion matrix on the page


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
    elif (root / run_directory.METRICS).exists() and not (root / experiments.EXPERIMENT).exists():
        page = _render_run(root)
    else:
        page = experiments.write_page(root)
    write_text(target, page)
    return target


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
    classes = list(metrics["per_class"])
    matrix = _compute_matrix(metrics, classes)
    defaults = {
        "title": f"{metrics['request']['spec']['network']} on {metrics['request']['data']}",
        "metrics": metrics,
        "request": metrics["request"],
        "accuracy": _estimate_share(metrics["correct"], metrics["test_images"]),
        "classes": classes,
        "per_class": _list_classes(metrics),
        "mean_precision": statistics.format_mean_precision(metrics) if "mean_average_precision" in metrics else None,
        "matrix": matrix,
        "curves": charts.render_curves(history, metrics["best_epoch"]),
        "calibration": _render_calibration(metrics, tested),
        "samples": [_embed_sample(sample) for sample in tested.samples] if tested and matrix else [],
        "mistakes": _select_mistakes(tested, metrics) if tested else [],
        **_draw_network(metrics["request"], classes),
        "maps": _render_grad_cam(root, tested) if tested else [],
        "command": metrics["command"],
        "versions": metrics["versions"],
    }
    return render("page.html", **{**defaults, **values})


def _render_comparison(root: Path) -> str:
    """The page of the best run of a comparison of protocols, with their results above it."""
    path = root / TRANSFER
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
        best, seeds = root / comparison["best"], len(comparison["seeds"])
        protocols, differences = comparison["results"], comparison["differences"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged, or of an older version of kcnn; run kcnn transfer again") from None
    request = run_directory.read_metrics(best)["request"]
    return _render_run(
        best,
        title=f"{request['spec']['network']} fine-tuned on {request['data']}",
        protocols=protocols,
        seeds=seeds,
        differences=differences,
        heading=f"{best.name.capitalize()} network, {best.parent.name.replace('-', ' ')}",
        chart=charts.render_protocols(protocols),
        grad_cam=[experiments.embed_image(path) for path in sorted((root / "grad_cam").glob("*.png"))],
        runs=experiments.list_rows(root),
    )


def _estimate_share(count: int, total: int) -> dict[str, float]:
    low, high = wilson_interval(count, total)
    return {"share": count / total, "low": low, "high": high}


def _list_classes(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each class, with the 95% interval of its recall."""
    rows = []
    for name, row in metrics["per_class"].items():
        interval = wilson_interval(round(row["recall"] * row["images"]), row["images"]) if row["images"] else None
        rows.append({"name": name, "interval": interval, **row})
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
    probabilities = statistics.to_probabilities(tested.logits, {})
    is_correct = probabilities.argmax(axis=-1) == tested.truth
    chart, error = charts.render_calibration(probabilities.max(axis=-1), is_correct)
    return {"chart": chart, "error": error}


def _embed_sample(sample: evidence.ImageSample, text: str = "") -> dict[str, Any]:
    single_label = sample.truth >= 0
    return {
        "source": embed_image_bytes(sample.jpeg, "jpeg"),
        "index": sample.index,
        "truth": sample.truth,
        "predicted": sample.predicted if single_label else -1,
        "correct": sample.correct,
        "confidence": sample.confidence,
        "text": text,
    }


def _select_mistakes(tested: TestEvidence, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The most confident errors."""
    wrong = sorted((s for s in tested.samples if not s.correct), key=lambda s: -s.confidence)
    return [
        _embed_sample(sample, _describe_labels(sample, tested, metrics)) for sample in wrong[: evidence.MAX_MISTAKES]
    ]


def _describe_labels(sample: evidence.ImageSample, tested: TestEvidence, metrics: Mapping[str, Any]) -> str:
    """The predicted and the true class of an image, or all its labels."""
    classes, rows = list(metrics["per_class"]), metrics["per_class"].values()
    if sample.truth >= 0:
        return f"predicted {classes[sample.predicted]} ({sample.confidence:.0%}), true {classes[sample.truth]}"
    metadata = {"multi_label": True, "thresholds": [row["threshold"] for row in rows]}
    probabilities = statistics.to_probabilities(tested.logits[sample.index], metadata)
    labels = statistics.predict_labels(probabilities, metadata), tested.truth[sample.index]
    predicted, true = (", ".join(classes[n] for n in np.flatnonzero(one)) or "no label" for one in labels)
    return f"predicted {predicted}; true {true}"


def _draw_network(request: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """The figure of the network as it was trained; the reason, if its plugin is not installed any more."""
    try:
        spec = kcnn.ModelSpec.from_json({k: v for k, v in request["spec"].items() if k not in ("aux", "weights")})
        graph = replace(spec, input_shape=request["input_shape"], classes=len(classes)).trace()
    except (ValueError, ImportError) as error:
        return {"no_drawing": str(error)}
    return {"drawing": fold_blocks(graph)}


def _render_grad_cam(root: Path, tested: TestEvidence) -> list[dict[str, str]]:
    """Grad-CAM of the most confident errors, over the images, each with a note where it is empty."""
    if not len(tested.mistakes):
        return []
    from PIL import Image

    from kcnn.explain import grad_cam
    from kcnn.explain.class_activation import note_evidence

    model = kcnn.load_model(root / "model.keras")
    maps = []
    for pixels, heat in zip(tested.mistakes, grad_cam(model, tested.mistakes.astype("float32")), strict=True):
        base = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1, keepdims=True)
        jpeg = io.BytesIO()
        Image.fromarray(overlay_heatmap(base, heat).clip(0, 255).astype("uint8")).resize((96, 96)).save(jpeg, "JPEG")
        maps.append({"source": embed_image_bytes(jpeg.getvalue(), "jpeg"), "note": note_evidence(heat)})
    return maps
