"""The test of a run: predictions, metrics, and the files that the run's folder keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kcnn import classification
from kcnn.atomic_io import replace_atomically, write_text
from kcnn.data import ImageDataset
from kcnn.data.splits import describe_duplicates
from kcnn.graph.summaries import summarize
from kcnn.plots import figures
from kcnn.training import devices, evidence, losses, predicted_images, run_directory
from kcnn.training.best_epoch import find_best_epoch
from kcnn.training.evidence import TestEvidence
from kcnn.training.job import TrainJob


def compute_thresholds(model: Any, job: TrainJob) -> list[float]:
    """Return the probability from which an image has a label, for each class, chosen on the validation split."""
    logits, truth = evidence.compute_scores(model, job.data.validation)
    return classification.choose_thresholds(classification.to_probabilities(logits, model.metadata), truth)


def compute_metrics(
    model: Any, job: TrainJob, rows: Sequence[Mapping[str, float]], tested: TestEvidence
) -> dict[str, Any]:
    """Return the metrics on the test split and the facts of a run: the content of metrics.json.

    Args:
        model: The trained model.
        job: The run.
        rows: The history.
        tested: The evidence of the test split.

    Returns:
        JSON values.
    """
    data, logits, truth = job.data, tested.logits, tested.truth
    probabilities = classification.to_probabilities(logits, model.metadata)
    predicted = classification.predict_labels(probabilities, model.metadata)
    correct = classification.is_correct(predicted, truth)
    loss = losses.make_loss(data.multi_label).call(keras.ops.convert_to_tensor(truth), logits)
    summary = summarize(*job.graph.outputs.values(), title=job.graph.name)
    best, folds = find_best_epoch(rows, job.validation_images), job.cross_validation
    validation = rows[best - 1].get("val_accuracy")  # None without a validation split
    return {
        "accuracy": float(np.mean(correct)),
        "correct": int(np.sum(correct)),
        "test_images": len(truth),
        "loss": float(np.mean(keras.ops.convert_to_numpy(loss))),
        "validation_accuracy": folds.mean if folds and folds.metric == "accuracy" else validation,
        **({"cross_validation": asdict(folds)} if folds else {}),
        "best_epoch": best,
        "epochs": len(rows),
        "training_seconds": round(sum(row["seconds"] for row in rows), 1),
        "images_per_second": rows[-1]["images_per_second"],
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
        "devices": devices.count_replicas(job.strategy),
        "params": summary.params,
        "macs": summary.macs,
        **classification.classification_report(predicted, probabilities, truth, data.classes, model.metadata),
        "request": job.request,
        "batch_size": data.batch_size,
        "images": {name: len(split) for name, split in data.splits.items()},
        "warnings": [*data.warnings, *describe_duplicates(data.duplicates)],
        "skipped": len(data.skipped),
        "duplicates": len(data.duplicates),
        "command": run_directory.command_line(),
        "versions": run_directory.library_versions(),
    }


def write_results(
    out: Path,
    model: Any,
    job: TrainJob,
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    tested: TestEvidence,
) -> None:
    """Write the files of a finished run; metrics.json last, which marks it as finished.

    Args:
        out: Folder of the run.
        model: The trained model.
        job: The run.
        metrics: From compute_metrics.
        rows: The history.
        tested: The evidence of the test split.
    """
    data = job.data
    with replace_atomically(out / "model.keras") as temporary:
        model.save(temporary)
    for name, records in (("skipped", data.skipped), ("duplicates", data.duplicates)):
        if records:
            write_text(out / f"{name}.csv", run_directory.to_csv([asdict(record) for record in records]))
    evidence.save_evidence(out, tested)
    with run_directory.log_failure(predicted_images.FILE, job.log):
        predicted_images.write_predictions(out, data, tested, model.metadata)
    with run_directory.log_failure("plots", job.log):
        _write_plots(out, metrics, rows, tested, data)
    run_directory.write_metrics(out, metrics)


def _write_plots(
    out: Path,
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    tested: TestEvidence,
    data: ImageDataset,
) -> None:
    title = f"{metrics['request']['spec']['network']} on {data.name}"
    figures.save_figure(figures.plot_curves(rows, title), out / "curves.png")
    if data.multi_label:
        subtitle = f"{title}: mean average precision {classification.format_mean_precision(metrics)}"
        figure = figures.plot_per_class(metrics["per_class"], "average_precision", subtitle)
        figures.save_figure(figure, out / "average_precision.png")
        return
    subtitle = f"{title}: {metrics['correct']} of {metrics['test_images']} correct ({metrics['accuracy']:.2%})"
    matrix = classification.count_confusions(tested.logits.argmax(axis=-1), tested.truth, len(data.classes))
    figures.save_figure(figures.plot_confusion_matrix(matrix, data.classes, subtitle), out / "confusion.png")
