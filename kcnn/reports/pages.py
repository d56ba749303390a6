"""One run, or what a transfer's runs came to, as one self-contained page of HTML from what its folder holds."""

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
from kcnn.plots.figures import save_figure
from kcnn.plots.network.folding import fold_blocks
from kcnn.reports import charts, experiments
from kcnn.reports.templates import embed_png, render
from kcnn.statistics import wilson_interval
from kcnn.training import evidence, run_directory
from kcnn.training.evidence import TestEvidence

PAGE = "report.html"
TRANSFER = "transfer.json"
ROOM = 40  # classes of which a confusion matrix is shown


def write_report(folder: str | Path, to: str | Path | None = None) -> Path:
    """Write the page of a finished run, a transfer, an experiment or a folder of runs; into it, or to a file.

    FileNotFoundError where the folder holds no finished run; ValueError where a file of it is damaged, or `to` is a
    folder.
    """
    where = Path(folder)
    target = Path(to) if to else where / PAGE
    if target.is_dir():
        raise ValueError(f"{target} is a folder; the page is a file, such as {target / PAGE}")
    if (where / TRANSFER).exists():
        page = _transfer(where)
    elif (where / run_directory.METRICS).exists() and not (where / experiments.EXPERIMENT).exists():
        page = _run(where)
    else:
        page = experiments.write_page(where)
    write_text(target, page)
    return target


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


def _run(where: Path, **words: Any) -> str:
    metrics, rows, held = (
        run_directory.read_metrics(where),
        run_directory.read_history(where),
        evidence.read_evidence(where),
    )
    if not rows:
        raise ValueError(f"{where / run_directory.HISTORY} is gone, or has no epoch; train again")
    classes = list(metrics["per_class"])
    matrix = _matrix(metrics, classes)
    told = {
        "title": f"{metrics['request']['spec']['network']} on {metrics['request']['data']}",
        "metrics": metrics,
        "request": metrics["request"],
        "accuracy": _share(metrics["correct"], metrics["test_images"]),
        "classes": classes,
        "per_class": _per_class(metrics),
        "matrix": matrix,
        "curves": charts.render_curves(rows, metrics["best_epoch"]),
        "calibration": _calibration(metrics, held),
        "shown": [_picture(one, classes) for one in held.samples] if held and matrix else [],
        "mistakes": _mistakes(held, classes) if held else [],
        **_drawing(metrics["request"], classes),
        "maps": _maps(where, held) if held else [],
        "command": metrics["command"],
        "versions": metrics["versions"],
    }
    return render("page.html", **{**told, **words})


def _transfer(where: Path) -> str:
    """The page of the best run of a comparison of protocols, with their results above it."""
    path = where / TRANSFER
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
        best, seeds = where / comparison["best"], len(comparison["seeds"])
        protocols, differences = comparison["results"], comparison["differences"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged, or of an older version of kcnn; run kcnn transfer again") from None
    request = run_directory.read_metrics(best)["request"]
    grad_cam = where / "grad_cam.png"
    return _run(
        best,
        title=f"{request['spec']['network']} fine-tuned on {request['data']}",
        protocols=protocols,
        seeds=seeds,
        differences=differences,
        best=comparison["best"],
        chart=charts.render_protocols(protocols),
        grad_cam=experiments.embed_image(grad_cam) if grad_cam.exists() else None,
        runs=experiments.list_rows(experiments.find_runs(where), where),
    )


def _share(count: int, of: int) -> dict[str, float]:
    low, high = wilson_interval(count, of)
    return {"share": count / of, "low": low, "high": high}


def _per_class(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each class, the share of its pictures that were found with its 95 % interval."""
    rows = []
    for name, row in metrics["per_class"].items():
        low, high = (
            wilson_interval(round(row["recall"] * row["images"]), row["images"]) if row["images"] else (0.0, 1.0)
        )
        rows.append({"name": name, "low": low, "high": high, **row})
    return rows


def _matrix(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Counts and rates of true (rows) against said (columns); nothing where there are too many classes to read."""
    counts = metrics.get("confusion")
    if not counts or len(classes) > ROOM:
        return []
    return [[{"count": n, "rate": n / max(1, sum(row))} for n in row] for row in counts]


def _calibration(metrics: Mapping[str, Any], held: TestEvidence | None) -> dict[str, Any] | None:
    if held is None or "confusion" not in metrics:
        return None
    found = statistics.to_probabilities(held.logits, {})
    chart, error = charts.render_calibration(found.max(axis=-1), found.argmax(axis=-1) == held.truth)
    return {"chart": chart, "error": error}


def _picture(one: evidence.ImageSample, classes: Sequence[str]) -> dict[str, Any]:
    single = one.truth >= 0
    return {
        "source": embed_png(one.jpeg, "jpeg"),
        "index": one.index,
        "truth": one.truth,
        "predicted": one.predicted if single else -1,
        "correct": one.correct,
        "confidence": one.confidence,
        "text": f"predicted {classes[one.predicted]} ({one.confidence:.0%}), true {classes[one.truth]}"
        if single
        else "",
    }


def _mistakes(held: TestEvidence, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The most confident errors."""
    wrong = sorted((one for one in held.samples if not one.correct), key=lambda one: -one.confidence)
    return [_picture(one, classes) for one in wrong[: evidence.MAX_MISTAKES]]


def _drawing(request: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """The network as it was trained, drawn; why not, where its plugin is not here any more."""
    try:
        spec = kcnn.ModelSpec.from_json({k: v for k, v in request["spec"].items() if k not in ("aux", "weights")})
        drawing = replace(spec, input_shape=request["input_shape"], classes=len(classes)).trace()
    except (ValueError, ImportError) as error:
        return {"undrawn": str(error)}
    return {"drawing": fold_blocks(drawing)}


def _maps(where: Path, held: TestEvidence) -> list[str]:
    """Grad-CAM of the most confident errors, over the images."""
    if not len(held.mistakes):
        return []
    from matplotlib import colormaps
    from PIL import Image

    from kcnn.explain import grad_cam

    model = kcnn.load_model(where / "model.keras")
    found = []
    for pixels, heat in zip(held.mistakes, grad_cam(model, held.mistakes.astype("float32")), strict=True):
        base = pixels if pixels.shape[-1] == 3 else np.repeat(pixels.mean(axis=-1, keepdims=True), 3, axis=-1)
        glow = 255 * colormaps["jet"](heat)[..., :3]
        text = io.BytesIO()
        Image.fromarray((0.55 * base + 0.45 * glow).clip(0, 255).astype("uint8")).resize((96, 96)).save(text, "JPEG")
        found.append(embed_png(text.getvalue(), "jpeg"))
    return found
