"""Recipes and configs, and optimizers, schedules and losses with plain Keras, against values computed by hand."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from kcnn import TrainConfig, UnknownNameError
from kcnn.training import (
    RECIPES,
    Recipe,
    TrainingPhase,
    adamw,
    balance_class_weights,
    get_recipe,
    make_accuracy,
    schedule,
    sgd,
)
from kcnn.training.losses import CrossEntropy
from kcnn.training.optimizers import SGD, Adam, LinearWarmup, LossScaleOptimizer


def rates(made, steps):
    return [float(made(step)) if callable(made) else made for step in steps]


def test_schedule_step_divides_by_ten_after_exactly_half_and_three_quarters_of_the_steps():
    made = schedule("step", 0.1, 64000)
    assert rates(made, [0, 31999, 32000, 47999, 48000, 63999]) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_schedule_cosine_rises_linearly_and_falls_to_0():
    made = schedule("cosine", 0.4, 100, warmup=0.1)
    assert rates(made, [0, 5, 10]) == pytest.approx([0.0, 0.2, 0.4], abs=1e-6)
    assert rates(made, [55, 100]) == pytest.approx([0.2, 0.0], abs=1e-6)


def test_schedule_constant_warms_up_and_is_restored_from_its_config():
    made = schedule("constant", 0.3, 100, warmup=0.1)
    assert rates(made, [0, 4, 9, 10, 99]) == pytest.approx([0.03, 0.15, 0.3, 0.3, 0.3])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert isinstance(again, LinearWarmup)
    assert rates(again, [4]) == pytest.approx([0.15])
    with pytest.raises(ValueError, match="cosine"):
        schedule("linear", 0.1, 10)


def one_step(optimizer, gradient=0.5, name=None):
    """A kernel and a bias of ones after a step, both with that gradient."""
    layer = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones", name=name)
    layer.build((None, 1))
    for _ in range(2):
        optimizer.apply([ops.full((1, 1), gradient), ops.full((1,), gradient)], layer.trainable_variables)
    return [float(ops.convert_to_numpy(v).squeeze()) for v in layer.trainable_variables]


def test_sgd_weight_decay_is_part_of_the_gradient_and_exempts_the_bias():
    kernel, bias = one_step(sgd(0.1, momentum=0.9, nesterov=False, weight_decay=0.2))
    v1 = 0.5 + 0.2 * 1.0
    w1 = 1 - 0.1 * v1
    v2 = 0.9 * v1 + 0.5 + 0.2 * w1
    assert kernel == pytest.approx(w1 - 0.1 * v2, rel=1e-6)
    assert bias == pytest.approx(1 - 0.1 * 0.5 - 0.1 * (0.9 * 0.5 + 0.5), rel=1e-6)


def test_sgd_nesterov_looks_ahead():
    _, bias = one_step(sgd(0.1, momentum=0.9, nesterov=True))
    v1 = -0.05
    v2 = 0.9 * v1 - 0.05
    assert bias == pytest.approx(1 + (0.9 * v1 - 0.05) + (0.9 * v2 - 0.05), rel=1e-6)


def test_adamw_weight_decay_is_decoupled_from_the_gradient_and_exempts_the_bias():
    kernel, bias = one_step(adamw(0.1, weight_decay=0.2))
    assert bias == pytest.approx(0.8, rel=1e-4)  # Adam's first steps are the rate itself
    assert kernel == pytest.approx((1 * 0.98 - 0.1) * 0.98 - 0.1, rel=1e-4)


@pytest.mark.parametrize("make", [sgd, adamw])
@pytest.mark.parametrize("rate", [0.5, np.float64(0.5), 1, schedule("step", 0.5, 100)])
def test_optimizers_take_the_learning_rate_of_a_function_without_arguments(make, rate):
    function = (lambda: rate(0)) if callable(rate) else lambda: rate
    for factors in ({}, {"dense": 0.5}):
        expected = one_step(make(rate, weight_decay=0.2, lr_multipliers=factors), name="dense")
        assert one_step(make(function, weight_decay=0.2, lr_multipliers=factors), name="dense") == expected


@pytest.mark.parametrize("make", [sgd, adamw])
@pytest.mark.parametrize("rate", [lambda step: 0.1, keras.optimizers.schedules.CosineDecay])
def test_optimizers_refuse_a_function_of_the_step(make, rate):
    with pytest.raises(TypeError, match=r"learning_rate must be .* or a function without arguments"):
        make(rate)


@pytest.mark.parametrize("make", [sgd, adamw])
def test_optimizers_decay_the_kernel_of_a_layer_whatever_its_name(make):
    kernel, bias = one_step(make(0.1, weight_decay=0.2), gradient=0.0, name="beta_unbiased")
    assert kernel < 1 == bias


DECAYING = [
    lambda: sgd(0.1, momentum=0.9, weight_decay=0.2),
    lambda: adamw(0.1, weight_decay=0.2),
    lambda: LossScaleOptimizer(sgd(0.1, weight_decay=0.2)),
]


@pytest.mark.parametrize("make", DECAYING)
def test_optimizers_exempt_biases_and_norms_after_save_and_load(tmp_path, make):
    layers = [keras.Input((2,)), keras.layers.Dense(2), keras.layers.BatchNormalization()]
    model = keras.Sequential(layers)
    model.compile(make(), "mse", jit_compile=False)
    x, y = np.ones((4, 2), "float32"), np.ones((4, 2), "float32")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(x, y, epochs=2, verbose=0)
    for variable, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), ops.convert_to_numpy(other))


@pytest.mark.parametrize("make", [SGD, Adam])
def test_optimizers_without_exemption_decay_the_bias_before_and_after_they_are_saved(make):
    made = make(0.1, weight_decay=0.2)
    assert "exclude_from_weight_decay" not in made.get_config()
    expected = one_step(make(0.1, weight_decay=0.2), gradient=0.0)
    assert expected[0] == expected[1] < 1
    assert one_step(make.from_config(made.get_config()), gradient=0.0) == expected


def test_sgd_saves_the_names_that_a_user_exempts():
    made = sgd(0.1, weight_decay=0.2)
    made.exclude_from_weight_decay(var_names=["kernel"])
    kernel, bias = one_step(SGD.from_config(made.get_config()), gradient=0.0)
    assert kernel == 1 > bias


def test_sgd_clip_global_norm_bounds_the_norm_of_all_gradients_together():
    kernel, bias = one_step(sgd(1.0, momentum=0.0, nesterov=False, clip_global_norm=1.0), gradient=30.0)
    assert (1 - kernel) ** 2 + (1 - bias) ** 2 == pytest.approx(2**2, rel=1e-5)  # two steps of norm 1, one way


def test_sgd_ema_momentum_averages_the_weights():
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    layer.build((None, 1))
    optimizer = sgd(0.1, momentum=0.0, nesterov=False, ema_momentum=0.9)
    average = 0.0
    for step in range(100):
        optimizer.apply([ops.ones((1, 1))], layer.trainable_variables)
        momentum = min(0.9, step / (step + 9))  # 0 in the first step: initial weights do not count
        average = momentum * average + (1 - momentum) * (1 - 0.1 * (step + 1))
    optimizer.finalize_variable_values(layer.trainable_variables)
    assert float(ops.convert_to_numpy(layer.kernel).squeeze()) == pytest.approx(average, rel=1e-4)


def test_sgd_ema_momentum_near_one_averages_the_last_tenth_of_few_steps():
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    layer.build((None, 1))
    optimizer = sgd(1.0, momentum=0.0, nesterov=False, ema_momentum=0.999)
    for _ in range(560):
        optimizer.apply([-ops.ones((1, 1))], layer.trainable_variables)  # the weight is the number of steps
    optimizer.finalize_variable_values(layer.trainable_variables)
    assert 490 < float(ops.convert_to_numpy(layer.kernel).squeeze()) < 505


def test_cross_entropy_label_smoothing_takes_class_indices():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], "float32")
    labels = np.array([0, 2])
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    wanted = theirs(np.eye(3, dtype="float32")[labels], logits)
    for given in (labels, labels[:, None], np.eye(3, dtype="float32")[labels]):
        assert float(CrossEntropy(0.1)(given, logits)) == pytest.approx(float(wanted), rel=1e-6)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(CrossEntropy()(labels, logits)) == pytest.approx(float(plain(labels, logits)), rel=1e-6)


def test_balance_class_weights_gives_each_class_the_same_weight_in_the_loss():
    labels = np.array([0, 0, 0, 1])
    weights = balance_class_weights(labels, 2)
    assert weights == pytest.approx([4 / 6, 2.0])
    assert sum(weights[n] for n in labels if n == 0) == pytest.approx(sum(weights[n] for n in labels if n == 1))
    logits = np.zeros((4, 2), "float32")
    losses = CrossEntropy(class_weights=weights).call(labels, logits)
    assert ops.convert_to_numpy(losses) == pytest.approx(np.log(2) * np.array([2 / 3, 2 / 3, 2 / 3, 2.0]))
    blended = CrossEntropy(class_weights=weights).call(np.array([[0.5, 0.5]], "float32"), logits[:1])
    assert float(ops.convert_to_numpy(blended)[0]) == pytest.approx(np.log(2) * (2 / 3 + 2) / 2)


def test_make_accuracy_counts_class_indices_and_probabilities_by_weight():
    metric = make_accuracy()
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 0.0]], "float32")
    metric.update_state(np.array([0, 0, 0]), logits)
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.reset_state()
    metric.update_state(np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]], "float32"), logits, np.array([1.0, 1.0, 0.0]))
    assert float(metric.result()) == pytest.approx(1 / 2)


def test_cross_entropy_is_restored_from_its_config():
    made = CrossEntropy(0.1, [1.0, 2.0])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert (again.label_smoothing, again.class_weights) == (0.1, [1.0, 2.0])


def test_get_recipe_paper_is_that_of_resnet_on_cifar():
    paper = RECIPES["paper"]
    steps = paper.epochs * (45000 // paper.batch_size)
    assert 63500 <= steps <= 64500
    made = schedule(paper.schedule, paper.learning_rate, steps, warmup=paper.warmup, milestones=paper.milestones)
    assert rates(made, [0, steps // 2 + 1, steps - 1]) == pytest.approx([0.1, 0.01, 0.001])
    assert (paper.momentum, paper.nesterov, paper.weight_decay) == (0.9, False, 1e-4)
    assert (paper.augmentation.crop, paper.augmentation.flip) == (4, True)


def test_get_recipe_overrides_settings_of_recipe_and_augmentation():
    found = get_recipe("strong", {"flip": False, "mixup": 0.4, "epochs": 3, "ema_momentum": 0, "rand_augment": None})
    assert found.augmentation.rand_augment is None
    assert (found.augmentation.flip, found.augmentation.mixup, found.epochs, found.ema_momentum) == (False, 0.4, 3, 0)
    assert found.learning_rate == RECIPES["strong"].learning_rate
    assert found.augmentation.cutmix == RECIPES["strong"].augmentation.cutmix


@pytest.mark.parametrize(
    ("asked", "changes", "said"),
    [
        ("fast", {}, "choose from auto, quick, paper, strong"),
        ("quick", {"momentun": 0.5}, "unknown recipe option 'momentun'. Did you mean 'momentum'"),
        ("quick", {"epochs": 0}, "epochs must be at least 1, got 0"),
        ("quick", {"epochs": "ten"}, "epochs must be of type int, got 'ten'"),
        ("quick", {"optimizer": "lion"}, "unknown optimizer .* choose from sgd, adamw"),
        ("quick", {"learning_rate": float("inf")}, "learning_rate must be above 0"),
        ("quick", {"augmentation": "strong"}, "augmentation must be a kcnn.augment.Augmentation"),
        ("quick", {"milestones": [0.7, 0.2]}, "in ascending order"),
        ("quick", {"milestones": 2}, "a list of fractions of all steps such as"),
        ("quick", {"mixup": "much"}, "mixup"),
        ("quick", {"learning_rate": 0.0}, "learning_rate must be above 0"),
    ],
)
def test_get_recipe_refuses_unknown_names_and_invalid_values(asked, changes, said):
    with pytest.raises((LookupError, ValueError), match=said):
        get_recipe(asked, changes)


def test_recipe_to_json_round_trips():
    for recipe in RECIPES.values():
        assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


CONFIGS = [
    TrainConfig(),
    TrainConfig(recipe="paper", epochs=3, batch_size=8, recipe_overrides={"crop": 2, "milestones": (0.2, 0.4)}, seed=5),
    TrainConfig(recipe=Recipe(epochs=2, optimizer="sgd"), precision="float32", strategy="single"),
    TrainConfig(recipe="strong", phase=TrainingPhase(4, ["stage4_*", "head"], 1e-4, {"stem*": 0.1}), load_head=False),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_train_config_to_json_round_trips(config):
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_train_config_from_json_reads_the_description_of_a_run(config):
    described = json.loads(json.dumps(config.describe()))
    again = TrainConfig.from_json(described)
    assert again.resolved_recipe == config.resolved_recipe
    assert json.loads(json.dumps(again.describe())) == described


def test_train_config_diff_returns_settings_that_differ():
    assert TrainConfig(seed=3).diff(TrainConfig(seed=4, epochs=2)) == [("epochs", None, 2), ("seed", 3, 4)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": "strng"}, "unknown recipe 'strng'. Did you mean 'strong'"),
        ({"recipe_overrides": {"weight_deca": 0.1}}, "unknown recipe option 'weight_deca'. Did you mean"),
        ({"precision": "mixed_float8"}, "unknown precision 'mixed_float8'. Did you mean 'mixed_float16'"),
        ({"strategy": "horovod"}, "unknown strategy 'horovod'; choose from auto, single, mirrored, multiworker"),
    ],
)
def test_train_config_refuses_unknown_names_with_the_closest(fields, message):
    with pytest.raises(UnknownNameError, match=message):
        TrainConfig(**fields)


def test_train_config_from_json_refuses_an_unknown_key():
    with pytest.raises(UnknownNameError, match=r"unknown train config key 'epoch'\. Did you mean 'epochs'"):
        TrainConfig.from_json({"epoch": 3})


def test_train_config_refuses_epochs_beside_a_phase():
    with pytest.raises(ValueError, match="a training phase has its own epochs and learning rate"):
        TrainConfig(epochs=2, phase=TrainingPhase(1))
