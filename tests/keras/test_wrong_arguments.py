"""Wrong arguments of functions that need Keras: one error that names the argument, before anything is computed."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn import augment, data, distribute, explain, export, fine_tuning
from kcnn.search import SearchConfig
from kcnn.search.space import analyze_feasibility, stack_space
from kcnn.training import (
    TrainConfig,
    TrainingPhase,
    adamw,
    audit_weights,
    balance_class_weights,
    freeze,
    resolve_lr_multipliers,
    schedule,
    sgd,
)
from kcnn.weights import save_weights

NAN = float("nan")
IMAGES, LABELS, SEED = np.zeros((2, 12, 12, 1), "float32"), np.array([0, 1]), (1, 2)
STRATEGY, BATCHES = tf.distribute.get_strategy(), tf.data.Dataset.from_tensors((IMAGES, LABELS))
CALLS = {  # function: its right arguments, and values of the wrong kind by argument
    augment.flip: ({"images": IMAGES, "seed": SEED}, {"seed": [5, "x", None, [1], NAN], "vertical": [1, "no"]}),
    augment.augment: (
        {"augmentation": augment.Augmentation(), "images": IMAGES, "labels": LABELS, "size": (12, 12), "classes": 2}
        | {"seed": SEED},
        {"augmentation": [5, None, {"flip": True}], "images": [5, None, "x"], "labels": [None], "size": ["x", 5]},
    ),
    augment.mixup: (
        {"images": IMAGES, "labels": LABELS, "seed": SEED, "alpha": 0.5, "classes": 2},
        {
            "classes": ["2", -1, None, 2.5, 10**12],
            "alpha": ["x", NAN, None, 0, -1, 10**12],
            "images": [[1]],
            "seed": [[1]],
        },
    ),
    explain.occlusion: ({"images": IMAGES}, {"patch": ["2", 2.5], "batch_size": [0, None, 2.5], "classes": ["1"]}),
    augment.padded_crop: ({"images": IMAGES, "seed": SEED}, {"margin": [-1, 10**12, "x"]}),
    augment.rand_augment: ({"images": IMAGES, "seed": SEED}, {"num_ops": [0, -1, 10**12], "strength": [-1, 2]}),
    augment.resized_crop: (
        {"images": IMAGES, "seed": SEED, "area": (0.5, 1.0)},
        {"size": [[1], (0, 5), (10**9, 10**9)]},
    ),
    augment.augment_dataset: (
        {"augmentation": augment.Augmentation(), "classes": 2, "seed": 0},
        {"classes": [0, -1], "seed": [-1, 10**12, [1]], "size": [[1], (2, -1)]},
    ),
    explain.measure_receptive_field: (
        {"layer": "conv1"},
        {"draws": [0, -1, 10**12, "3"], "seed": [-1, 10**12], "input_shape": [5, [1], (12, 12, 2), (12, -1, 1)]},
    ),
    explain.filters: ({}, {"layer": [5, [1]]}),
    explain.activations: ({"images": IMAGES}, {"layers": [5, None]}),
    explain.TrainingStatistics: (
        {"images": IMAGES, "labels": LABELS},
        {"images": [5, None], "labels": [5, None], "every": ["5", None], "path": [5]},
    ),
    export.export_model: ({"path": "net"}, {"path": [5, None], "format": [5, None], "classes": [5]}),
    export.optimize_for_inference: ({}, {"probabilities": [1, None, "yes"]}),
    export.load_exported: ({"path": "net.keras"}, {"threads": ["2", 1.5, 0, -1, 10**12], "trust": [1, "yes"]}),
    export.verify_exports: (
        {"files": {}, "model_path": Path("net.keras"), "batches": []},
        {"model": [5, None, "x"], "files": [5, None]},
    ),
    kcnn.predict: (
        {"images": [IMAGES[0].astype("uint8")]},
        {"model": [5, None, "", [1], object()], "images": [5, None, object()], "top": [0, -1, "3"]},
    ),
    kcnn.load_model: ({}, {"path": [5, None, "", [1], object()]}),
    kcnn.load_weights: ({"weights": "net.safetensors"}, {"model": [5, None, "x", object()], "weights": [5, None, ""]}),
    save_weights: ({"path": "net.safetensors"}, {"model": [5, None, "x", object()], "path": [5, None, ""]}),
    fine_tuning.replace_head: ({"classes": 3}, {"classes": ["3", None, 2.5, [3]]}),
    fine_tuning.Protocol: ({"name": "a", "config": TrainConfig()}, {"name": [5, None], "config": [5], "weights": [5]}),
    freeze: ({}, {"model": [5, None, "x"], "trainable": [[1], {5: 1}, None, 2.5]}),
    resolve_lr_multipliers: ({}, {"model": [5], "lr_multipliers": [5, None, {5: 1}]}),
    TrainingPhase: ({"epochs": 1}, {"learning_rate": ["x", None, [1], NAN], "trainable": [2.5, None, object()]}),
    TrainConfig: ({}, {"seed": [-1, 10**12, "x"]}),
    SearchConfig: ({}, {"port": [-1, 10**12], "workers": [0, 10**12, "x"]}),
    analyze_feasibility: ({"space": stack_space(depth=(2, 3))}, {"samples": [0, -1, 10**12, "x"], "space": [5, None]}),
    audit_weights: ({}, {"model": [5, None, "x"]}),
    balance_class_weights: (
        {"labels": LABELS, "classes": 2},
        {"labels": [5, None, [0.5], [0, 7]], "classes": [0, -1, 10**12]},
    ),
    adamw: ({"learning_rate": 0.1}, {"learning_rate": ["x", None, -1, NAN], "ema_momentum": [-1, 2]}),
    sgd: ({"learning_rate": 0.1}, {"learning_rate": ["x", None, -1], "momentum": [-1, 2]}),
    schedule: ({"kind": "cosine", "peak": 0.1, "steps": 9}, {"peak": [-1, NAN], "steps": [-1], "warmup": [-1, 2]}),
    data.load: ({"source": "digits", "input_shape": (8, 8, 1)}, {"seed": [-1, 10**12], "resize_factor": [0, 10**12]}),
    distribute.copy_to_single_device: ({}, {"model": [5, None, "x"]}),
    distribute.make_strategy: ({}, {"kind": [5, None], "port": ["x", 1.5, 0, -1, 10**12]}),
    distribute.worker_position: ({}, {"strategy": [5, None, "single", object()]}),
    distribute.synchronize_batch_norm: ({}, {"strategy": [5, None, "single", object()]}),
    distribute.distribute_dataset: (
        {"strategy": STRATEGY, "make_shard": print, "batch_size": 2},
        {"strategy": [5, None, "single"], "make_shard": [5, None], "batch_size": [0, -1, "2"]},
    ),
    distribute.pad_batches: (
        {"dataset": BATCHES, "count": 2, "batch_size": 2},
        {"dataset": [5, None], "count": [0, -1, 10**12], "batch_size": [0, -1, 10**12]},
    ),
    distribute.launch: (
        {"workers": 1, "command": ["true"]},
        {"workers": ["2", None, 1.5, 0, 10**12], "command": [5, "true"]},
    ),
}
WITH_MODEL = (
    *(explain.occlusion, explain.filters, explain.activations, export.export_model, export.optimize_for_inference),
    *(fine_tuning.replace_head, freeze, resolve_lr_multipliers, explain.measure_receptive_field),
    *(export.verify_exports, kcnn.predict, kcnn.load_weights, save_weights, distribute.synchronize_batch_norm),
)
WRONG = [(call, name, value) for call, (_, wrong) in CALLS.items() for name in wrong for value in wrong[name]]


@pytest.fixture(scope="module")
def model():
    return kcnn.build("convnet", input_shape=(12, 12, 1), classes=3)


def describe(one):
    """A name that is the same in each process: without the address of an object."""
    return getattr(one, "__name__", None) or repr(one).partition(" at 0x")[0]


@pytest.mark.parametrize(("call", "name", "value"), WRONG, ids=describe)
def test_a_wrong_argument_is_named(call, name, value, model):
    arguments = {"model": model} if call in WITH_MODEL else {}
    with pytest.raises(ValueError, match=rf"^{name} (of a training phase )?must be ") as error:
        call(**{**arguments, **CALLS[call][0], name: value})
    assert len(str(error.value).splitlines()) == 1


def test_occlusion_takes_a_batch_size_beyond_its_images(model):
    maps = [explain.occlusion(model, IMAGES, 1, batch_size=size) for size in (4, 10**12)]
    np.testing.assert_allclose(*maps, atol=1e-6)
