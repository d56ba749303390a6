"""Wrong arguments of functions that need Keras: one error that names the argument, before anything is computed."""

import numpy as np
import pytest

import kcnn
from kcnn import augment, distribute, explain, export, fine_tuning
from kcnn.training import TrainConfig, TrainingPhase, freeze, resolve_lr_multipliers

NAN = float("nan")
IMAGES, LABELS, SEED = np.zeros((2, 12, 12, 1), "float32"), np.array([0, 1]), (1, 2)
CALLS = {  # function: its right arguments, and values of the wrong kind by argument
    augment.flip: ({"images": IMAGES, "seed": SEED}, {"seed": [5, "x", None, [1], NAN], "vertical": [1, "no"]}),
    augment.augment: (
        {"augmentation": augment.Augmentation(), "images": IMAGES, "labels": LABELS, "size": (12, 12), "classes": 2}
        | {"seed": SEED},
        {"augmentation": [5, None, {"flip": True}], "images": [5, None, "x"], "labels": [None], "size": ["x", 5]},
    ),
    augment.mixup: (
        {"images": IMAGES, "labels": LABELS, "seed": SEED, "alpha": 0.5, "classes": 2},
        {"classes": ["2", -1, None, 2.5], "alpha": ["x", NAN, None]},
    ),
    explain.occlusion: ({"images": IMAGES}, {"patch": ["2", 2.5], "batch_size": [0, None, 2.5], "classes": ["1"]}),
    explain.filters: ({}, {"layer": [5, [1]]}),
    explain.activations: ({"images": IMAGES}, {"layers": [5, None]}),
    explain.TrainingStatistics: (
        {"images": IMAGES, "labels": LABELS},
        {"images": [5, None], "labels": [5, None], "every": ["5", None], "path": [5]},
    ),
    export.export_model: ({"path": "net"}, {"path": [5, None], "format": [5, None], "classes": [5]}),
    export.optimize_for_inference: ({}, {"probabilities": [1, None, "yes"]}),
    export.load_exported: ({"path": "net.keras"}, {"threads": ["2", 1.5], "trust": [1, "yes"]}),
    fine_tuning.replace_head: ({"classes": 3}, {"classes": ["3", None, 2.5, [3]]}),
    fine_tuning.Protocol: ({"name": "a", "config": TrainConfig()}, {"name": [5, None], "config": [5], "weights": [5]}),
    freeze: ({}, {"model": [5, None, "x"], "trainable": [[1], {5: 1}, None, 2.5]}),
    resolve_lr_multipliers: ({}, {"model": [5], "lr_multipliers": [5, None, {5: 1}]}),
    TrainingPhase: ({"epochs": 1}, {"learning_rate": ["x", None, [1], NAN]}),
    distribute.copy_to_single_device: ({}, {"model": [5, None, "x"]}),
    distribute.make_strategy: ({}, {"kind": [5, None], "port": ["x", 1.5]}),
    distribute.launch: ({"workers": 1, "command": ["true"]}, {"workers": ["2", None, 1.5], "command": [5, "true"]}),
}
WITH_MODEL = (
    *(explain.occlusion, explain.filters, explain.activations, export.export_model, export.optimize_for_inference),
    *(fine_tuning.replace_head, freeze, resolve_lr_multipliers),
)
WRONG = [(call, name, value) for call, (_, wrong) in CALLS.items() for name in wrong for value in wrong[name]]


@pytest.fixture(scope="module")
def model():
    return kcnn.build("convnet", input_shape=(12, 12, 1), classes=3)


@pytest.mark.parametrize(("call", "name", "value"), WRONG, ids=lambda one: getattr(one, "__name__", repr(one)))
def test_a_wrong_argument_is_named(call, name, value, model):
    arguments = {"model": model} if call in WITH_MODEL else {}
    with pytest.raises(ValueError, match=rf"^{name} (of a training phase )?must be ") as error:
        call(**{**arguments, **CALLS[call][0], name: value})
    assert len(str(error.value).splitlines()) == 1


def test_occlusion_takes_a_batch_size_beyond_its_images(model):
    maps = [explain.occlusion(model, IMAGES, 1, batch_size=size) for size in (4, 10**12)]
    np.testing.assert_allclose(*maps, atol=1e-6)
