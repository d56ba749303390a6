"""What came of a training: the test, once, and the files that a run's folder keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kcnn import statistics
from kcnn.architectures.spec import summary
from kcnn.atomic_io import replace_atomically, write_text
from kcnn.plots import figures
from kcnn.training import callbacks, devices, evidence, losses
from kcnn.training import run_directory as folder
from kcnn.training.evidence import TestEvidence
from kcnn.training.job import TrainJob


def compute_scores(model: Any, batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits (images, classes) and the labels of every image that batches serve, once."""
    logits, truth = [], []
    for images, labels in batches:
        logits.append(np.asarray(model.predict_on_batch(np.asarray(images))))  # on JAX TensorFlow's tensors are none
        truth.append(keras.ops.convert_to_numpy(labels))
    return np.concatenate(logits), np.concatenate(truth)


def compute_thresholds(model: Any, job: TrainJob) -> list[float]:
    """The probability from which on a picture is said to be of a class, for each, chosen on the validation split."""
    logits, truth = compute_scores(model, job.data.validation)
    return statistics.choose_thresholds(statistics.to_probabilities(logits, model.metadata), truth)


def compute_metrics(
    model: Any, job: TrainJob, rows: Sequence[Mapping[str, float]], tested: TestEvidence
) -> dict[str, Any]:
    """Everything that is known of a finished run, from what one pass over the test split has gathered."""
    data, request = job.data, job.request
    logits, truth = tested.logits, tested.truth
    found = statistics.to_probabilities(logits, model.metadata)
    predicted = statistics.predict_labels(found, model.metadata)
    right = statistics.is_correct(predicted, truth)
    loss = losses.make_loss(data.multi_label)
    paper = summary(job.graph)
    best = callbacks.find_best_epoch(rows)
    kept = best if job.recipe.patience else len(rows)
    return {
        "accuracy": float(np.mean(right)),
        "correct": int(np.sum(right)),
        "test_images": len(truth),
        "loss": float(np.mean(keras.ops.convert_to_numpy(loss.call(keras.ops.convert_to_tensor(truth), logits)))),
        "validation_accuracy": rows[kept - 1].get("val_accuracy"),  # None: nothing was kept for validation
        "epoch": kept,
        "best_epoch": best,
        "epochs": len(rows),
        "training_seconds": round(sum(row["seconds"] for row in rows), 1),
        "images_per_second": rows[-1]["images_per_second"],
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
        "devices": devices.count_replicas(job.strategy),
        "params": paper.params,
        "macs": paper.macs,
        **statistics.classification_report(predicted, found, truth, data.classes, model.metadata),
        "request": request,
        "batch_size": data.batch_size,
        "images": {word: len(split) for word, split in data.splits.items()},
        "notes": list(data.warnings),
        "skipped": len(data.skipped),
        "repeated": len(data.duplicates),
        "command": folder.command_line(),
        "versions": folder.library_versions(),
    }


def write_results(
    out: Path,
    model: Any,
    job: TrainJob,
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    tested: TestEvidence,
) -> None:
    """The run's files; metrics.json last, since it says that the run is finished."""
    data = job.data
    with replace_atomically(out / "model.keras") as temporary:
        model.save(temporary)
    for name, found in (("skipped", data.skipped), ("repeated", data.duplicates)):
        if found:
            write_text(out / f"{name}.csv", folder.to_csv([asdict(one) for one in found]))
    evidence.save_evidence(out, tested)
    title = f"{metrics['request']['spec']['network']} on {data.name}"
    figures.save_figure(figures.plot_curves(rows, title), out / "curves.png")
    if data.multi_label:
        said = f"{title}: mean average precision {metrics['mean_average_precision']:.2%}"
        figures.save_figure(
            figures.plot_per_class(metrics["per_class"], "average_precision", said), out / "average_precision.png"
        )
    else:
        said = f"{title}: {metrics['correct']} of {metrics['test_images']} right ({metrics['accuracy']:.2%})"
        figures.save_figure(
            figures.plot_confusion_matrix(metrics["confusion"], data.classes, said), out / "confusion.png"
        )
    write_text(out / folder.METRICS, json.dumps(metrics, indent=1))
