"""A network trained on data into a folder, with Keras' fit; stopped at any time, it goes on where it was.

The folder holds model.keras, history.csv, metrics.json, curves.png, confusion.png, and while it
is unfinished, the last checkpoint. This room trains from tf.data, and so needs TensorFlow.
"""

import csv
import io
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import kcnn
from kcnn import pictures
from kcnn.data import Data, load
from kcnn.drawing import draw, measure
from kcnn.files import replacing, write_text
from kcnn.models import build
from kcnn.models import load as load_model
from kcnn.network import Network

WARM_UP = 0.05  # of all steps: the learning rate rises over these, then falls along a cosine


@dataclass(frozen=True)
class Run:
    """What a training left in its folder."""

    folder: Path
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]  # a row per epoch
    resumed: int  # epochs that were there already


class Keeper(keras.callbacks.Callback):
    """After each epoch: the history on disk, then a checkpoint in the place of the one before."""

    def __init__(self, folder: Path, history: list[dict[str, float]]):
        super().__init__()
        self.folder, self.history = folder, history

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = round(time.perf_counter() - self.begun, 2)
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **numbers, "seconds": seconds})
        write_text(self.folder / "history.csv", _csv(self.history))
        old = _checkpoints(self.folder)
        with replacing(self.folder / f"checkpoint-{epoch + 1:04}.keras") as temporary:
            self.model.save(temporary)
        for path in old:
            path.unlink()


def train(
    network: str,
    data: Any,
    *,
    out: str | Path,
    epochs: int,
    input_shape: tuple[int, int, int] | None = None,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
    aux: bool = False,
    changes: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Any = None,
) -> Run:
    """Train a network by name on what kcnn.data.load takes, or on a Data, with Adam, into the folder `out`.

    A folder with an unfinished run of the same request is gone on with after its last whole
    epoch; one with a finished run is answered from; one with another run is refused.
    ValueError and FileNotFoundError as from kcnn.build and kcnn.data.load.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, not {epochs}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, not {learning_rate}")
    folder = Path(out)
    plan = {"changes": changes, "aux": aux, **(options or {})}
    nominal = draw(network, input_shape=input_shape, **plan).image.shape  # a wrong word is told before data is read
    shape: Any = input_shape or nominal
    if not isinstance(data, Data):
        data = load(data, input_shape=shape, batch_size=batch_size, seed=seed, progress=progress)
    drawing = draw(network, input_shape=data.input_shape, classes=len(data.classes), **plan)
    request = {
        "network": network,
        "data": data.name,
        "input_shape": list(data.input_shape),
        "epochs": epochs,
        "batch_size": data.batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        **json.loads(json.dumps({"aux": aux, "changes": dict(changes or {}), "options": dict(options or {})})),
    }
    _claim(folder, request)
    history = _history(folder)
    if (folder / "metrics.json").exists():
        return Run(folder, json.loads((folder / "metrics.json").read_text()), history, len(history))
    model, done = _resume(folder)
    if model is None:
        model = build(drawing, seed=seed)
        model.update_card(classes=list(data.classes))
        _compile(model, learning_rate, data.steps * epochs)
    del history[done:]
    if done < epochs:
        model.fit(
            data.epochs(done, epochs),
            steps_per_epoch=data.steps,
            initial_epoch=done,
            epochs=epochs,
            validation_data=data.validation,
            callbacks=[Keeper(folder, history), *callbacks],
            shuffle=False,  # the data comes shuffled
            verbose=0,
        )
    metrics = _measured(model, data, history, request, drawing)
    _write(folder, model, data, metrics, history)
    return Run(folder, metrics, history, done)


def _compile(model: Network, learning_rate: float, steps: int) -> None:
    warm = max(1, round(WARM_UP * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm), warmup_target=learning_rate, warmup_steps=warm
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"], jit_compile=False)


def _claim(folder: Path, request: Mapping[str, Any]) -> None:
    """Make the folder this request's own, or refuse it where it is another's."""
    path = folder / "run.json"
    if not path.exists():
        if folder.is_file():
            raise ValueError(f"{folder} is a file; give a folder")
        write_text(path, json.dumps(request, indent=1))
        return
    there = json.loads(path.read_text())
    differ = [f"{key} {there.get(key)!r}, not {value!r}" for key, value in request.items() if there.get(key) != value]
    if differ:
        raise ValueError(f"{folder} holds another run ({'; '.join(differ)}); give another folder, or remove it")


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.keras"))


def _resume(folder: Path) -> tuple[Any, int]:
    """The model of the last whole checkpoint and its epochs; None and 0 where there is none."""
    for path in reversed(_checkpoints(folder)):
        return load_model(path), int(path.stem.rpartition("-")[2])
    return None, 0


def _csv(history: Sequence[Mapping[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def _history(folder: Path) -> list[dict[str, float]]:
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


def _measured(model: Any, data: Data, history: Any, request: Mapping[str, Any], drawing: Any) -> dict[str, Any]:
    """Everything that is known of the finished run, from one pass over the test split."""
    truth = data.splits["test"].labels
    logits = model.predict(data.test, verbose=0)
    predicted = logits.argmax(axis=-1)
    precision, recall, f1, count = precision_recall_fscore_support(
        truth, predicted, labels=range(len(data.classes)), zero_division=0.0
    )
    paper = measure(drawing)
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "correct": int(np.sum(predicted == truth)),
        "test_images": len(truth),
        "loss": float(np.mean(keras.ops.convert_to_numpy(model.loss.call(truth, logits)))),
        "validation_accuracy": history[-1]["val_accuracy"],
        "training_seconds": round(sum(row["seconds"] for row in history), 1),
        "params": paper.params,
        "macs": paper.macs,
        "per_class": {
            name: {"precision": p, "recall": r, "f1": f, "images": int(n)}
            for name, p, r, f, n in zip(
                data.classes, precision.tolist(), recall.tolist(), f1.tolist(), count, strict=True
            )
        },
        "confusion": confusion_matrix(truth, predicted, labels=range(len(data.classes))).tolist(),
        "request": dict(request),
        "images": {word: len(split) for word, split in data.splits.items()},
        "notes": list(data.notes),
        "skipped": len(data.skipped),
        "repeated": len(data.repeated),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(),
            "kcnn": kcnn.__version__,
            "backend": keras.backend.backend(),
            **{name: version(name) for name in ("keras", "tensorflow", "numpy")},
        },
    }


def _write(folder: Path, model: Any, data: Data, metrics: Mapping[str, Any], history: Any) -> None:
    """The run's files; metrics.json last, since it says that the run is finished."""
    plain = type(model).from_config(model.get_config())
    plain.set_weights(model.get_weights())
    with replacing(folder / "model.keras") as temporary:
        plain.save(temporary)
    for name, found in (("skipped", data.skipped), ("repeated", data.repeated)):
        if found:
            write_text(folder / f"{name}.csv", _csv([asdict(one) for one in found]))
    title = f"{metrics['request']['network']} on {data.name}"
    pictures.save(pictures.curves(history, title), folder / "curves.png")
    accuracy = f"{title}: {metrics['correct']} of {metrics['test_images']} right ({metrics['accuracy']:.2%})"
    pictures.save(pictures.confusion(metrics["confusion"], data.classes, accuracy), folder / "confusion.png")
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    for path in _checkpoints(folder):
        path.unlink()
