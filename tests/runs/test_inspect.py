"""Explaining models: activations, filters, Grad-CAM, occlusion, receptive fields, training statistics."""

import csv
import inspect as standard

import keras
import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.explain import TrainingStatistics, activations, filters, grad_cam, measure_receptive_field, occlusion
from kcnn.explain.plots import write_explanations
from kcnn.fine_tuning import replace_head
from kcnn.graph.names import UnknownNameError
from tests.catalogue import ONE_PER_FAMILY
from tests.runs.training import train_with as train

SIDE = 24


def backbone(x):
    x = kcnn.blocks.conv(x, 8, 5, name="conv1")
    x = kcnn.blocks.max_pool(x, 2, name="pool1")
    return kcnn.blocks.conv(x, 16, 3, name="conv2")


SMALL = kcnn.Architecture(backbone=backbone, reference="two convolutions", input_shape=(SIDE, SIDE, 1), classes=2)


def planted(count, seed):
    """Random images, with a bright square in the upper right corner where the class is 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.uniform(0, 90, (count, SIDE, SIDE, 1)).astype("float32")
    images[labels == 1, 2:8, 16:22] += 150
    return images, labels


@pytest.fixture(scope="module")
def small():
    """A tiny network trained to see whether the square is there."""
    keras.utils.set_random_seed(0)
    model = kcnn.build(SMALL, seed=0)
    images, labels = planted(128, 0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=10, batch_size=16, verbose=0)
    assert model.evaluate(*planted(32, 1), verbose=0)[1] == 1
    return model


@pytest.fixture(scope="module")
def mobile():
    return keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(64, 64, 3))


def corner(heat):
    """The share of a heatmap that is in the corner with the square and one patch around."""
    warm = np.maximum(heat, 0)
    return warm[:11, 13:].sum() / warm.sum()


def test_explain_does_not_shadow_the_inspect_module_of_python():
    assert standard.signature(kcnn.trace)
    assert kcnn.explain.__name__ == "kcnn.explain"


def test_activations_are_those_of_the_layers_that_match_a_glob(small):
    images = planted(3, 2)[0]
    found = activations(small, images)
    assert list(found)[-1] == "logits"
    np.testing.assert_allclose(found["logits"], small.predict(images, verbose=0), rtol=1e-4, atol=1e-4)
    some = activations(small, images, "{conv1,logits}")
    assert list(some) == ["conv1", "logits"]
    np.testing.assert_array_equal(some["conv1"], found["conv1"])
    assert some["conv1"].dtype == np.float32


def test_explain_suggests_the_nearest_layers_for_an_unknown_name(small):
    images = planted(1, 0)[0]
    for explain in (
        lambda: activations(small, images, "konv1*"),
        lambda: filters(small, "konv1"),
        lambda: grad_cam(small, images, layer="konv1"),
        lambda: measure_receptive_field(small, "konv1"),
    ):
        with pytest.raises(UnknownNameError, match=r"backbone: no layer matches 'konv1.*Did you mean 'conv1'"):
            explain()


@pytest.mark.parametrize(
    ("images", "classes", "said"),
    [
        (np.zeros((SIDE, SIDE, 1)), None, r"expects images \(n, 24, 24, 1\), at least one, got an array of \(24"),
        (np.zeros((0, SIDE, SIDE, 1)), None, "at least one"),
        (np.zeros((1, SIDE, SIDE, 3)), None, r"got an array of \(1, 24, 24, 3\)"),
        (
            np.zeros((2, SIDE, SIDE, 1)),
            [0, 2],
            r"classes must be indices from 0 to 1, one for each of 2 .*got \[0, 2\]",
        ),
        (np.zeros((2, SIDE, SIDE, 1)), [0], r"got \[0\]"),
    ],
)
def test_explain_refuses_images_of_another_shape_and_unknown_classes(small, images, classes, said):
    for explain in (grad_cam, occlusion):
        with pytest.raises(ValueError, match=said):
            explain(small, images, classes)


def test_filters_have_rows_columns_in_and_out(small, mobile):
    np.testing.assert_array_equal(filters(small), small.get_layer("conv1").get_weights()[0])
    assert filters(mobile).shape == (3, 3, 3, 16)
    assert filters(mobile, "block_1_depthwise").shape == (3, 3, 48, 1)
    assert filters(kcnn.build("lenet5"), "c3").shape == (5, 5, 6, 16)
    with pytest.raises(ValueError, match="'logits' of 'backbone' is not a convolution; the first one is 'conv1'"):
        filters(small, "logits")


def test_grad_cam_is_high_where_the_evidence_was_planted(small):
    images = planted(8, 3)[0][1::2]
    for heat in grad_cam(small, images, 1):
        assert heat.shape == (SIDE, SIDE)
        assert heat.min() >= 0
        assert 0.5 < heat.max() <= 1
        assert corner(heat) > 0.8
    np.testing.assert_array_equal(grad_cam(small, images), grad_cam(small, images, [1] * 4))


def test_occlusion_drops_the_score_where_the_evidence_was_planted(small):
    images = planted(8, 3)[0][1::2]
    for drop in occlusion(small, images, 1, patch=6, stride=2):
        assert drop.shape == (SIDE, SIDE)
        row, column = np.unravel_index(drop.argmax(), drop.shape)
        assert row < 10
        assert column > 14
        assert corner(drop) > 0.6
    with pytest.raises(ValueError, match="stride must be 1 to 6 pixels, or patches of 6 pixels leave gaps; got 7"):
        occlusion(small, images, 1, patch=6, stride=7)


def test_occlusion_computes_occluded_images_in_batches(small, monkeypatch):
    calls = []
    real = small.predict_on_batch
    monkeypatch.setattr(small, "predict_on_batch", lambda x: calls.append(len(x)) or real(x))
    few = occlusion(small, planted(2, 4)[0], patch=8, stride=8, batch_size=5)
    assert calls == [5] * 5  # two images as they are, then nine positions each
    monkeypatch.undo()
    np.testing.assert_allclose(few, occlusion(small, planted(2, 4)[0], patch=8, stride=8), rtol=1e-4, atol=1e-4)


def test_explain_leaves_the_model_unchanged(small):
    before = small.get_weights()
    images = planted(2, 0)[0]
    grad_cam(small, images, layer="conv1")
    measure_receptive_field(small, "conv2")
    for a, b in zip(before, small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert small.get_layer("conv1").output is not None  # an error where a layer has got a second node


def test_explain_takes_a_model_optimized_for_inference(small):
    images = planted(4, 5)[0]
    plain = kcnn.optimize_for_inference(small, probabilities=True)
    np.testing.assert_allclose(grad_cam(plain, images), grad_cam(small, images), atol=1e-3)
    assert occlusion(plain, images[1:2], patch=6)[0][2:8, 16:22].mean() > 0.1  # of probability
    assert list(activations(plain, images, "conv*"))
    assert measure_receptive_field(plain, "conv2").agrees


def test_grad_cam_of_a_confident_prediction_behind_a_softmax_is_not_empty(small):
    confident = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), keras.layers.Conv2D(2, 3, activation="relu", name="conv")]
    )
    confident.add(keras.layers.GlobalAveragePooling2D())
    confident.add(keras.layers.Dense(2, activation="softmax", name="probabilities"))
    weights = confident.get_layer("probabilities")
    weights.set_weights([np.array([[0.0, 9.0], [0.0, 9.0]]), np.zeros(2)])
    image = planted(2, 6)[0][1:]
    confident.get_layer("conv").set_weights([np.full((3, 3, 1, 2), 0.1), np.zeros(2)])
    assert confident.predict(image, verbose=0)[0, 1] == 1
    assert grad_cam(confident, image).max() > 0.9


def test_write_explanations_says_where_nothing_speaks_for_a_class(small, tmp_path):
    head = small.get_layer("logits")
    kernel, bias = head.get_weights()
    image = planted(2, 6)[0][1]
    try:
        head.set_weights([np.stack([-np.abs(kernel[:, 0]), np.abs(kernel[:, 1])], axis=1), bias])
        write_explanations(small, image, [(0, "first 1%"), (1, "second 99%")], tmp_path, "conv*")
    finally:
        head.set_weights([kernel, bias])
    text = Image.open(tmp_path / "grad_cam.png").info["Description"]
    assert "first 1% no positive evidence; second 99%" in text
    assert text.count("no positive evidence") == 1


def test_explain_takes_a_network_of_keras_applications(mobile):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3))
    assert activations(mobile, images, "block_{1,2}_expand")["block_2_expand"].shape == (2, 16, 16, 48)
    assert grad_cam(mobile, images).shape == (2, 64, 64)
    assert grad_cam(mobile, images, layer="block_1_expand").max() <= 1  # the shortcut passes it by
    assert occlusion(mobile, images[:1], patch=32).shape == (1, 64, 64)
    moved = replace_head(mobile, classes=["ant", "bee"], seed=0)
    assert grad_cam(moved, images, 1).shape == (2, 64, 64)
    for layer in ("Conv1", "block_2_add", "block_4_depthwise"):
        assert measure_receptive_field(mobile, layer).agrees


def test_explain_names_a_nested_model_and_how_to_flatten_it(mobile):
    image = keras.Input((64, 64, 3))
    nested = keras.Model(image, mobile(image))
    with pytest.raises(
        LookupError, match=f"{mobile.name!r} is a nested model; flatten it with kcnn.optimize_for_inference"
    ):
        activations(nested, np.zeros((1, 64, 64, 3)), "block_1_*")
    flat = kcnn.optimize_for_inference(nested)
    assert activations(flat, np.zeros((1, 64, 64, 3)), "block_1_*")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3))
    for explain in (lambda one: grad_cam(one, images), filters, lambda one: measure_receptive_field(one, mobile.name)):
        with pytest.raises(ValueError, match=r"a nested model; flatten it with kcnn\.optimize_for_inference"):
            explain(nested)
    np.testing.assert_allclose(grad_cam(flat, images), grad_cam(mobile, images), atol=1e-3)
    assert measure_receptive_field(flat, "block_3_depthwise").agrees
    np.testing.assert_allclose(
        occlusion(nested, images, 1, patch=32), occlusion(mobile, images, 1, patch=32), rtol=1e-3, atol=1e-6
    )


def test_training_statistics_write_rows_and_change_nothing(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (64, 16, 16, 1)).astype("uint8"), np.arange(64) % 2
    served = kcnn.data.load(pictures, input_shape=(16, 16, 1), batch_size=8)
    options = {"epochs": 2, "seed": 1, "options": {"depth": 1}, "recipe_overrides": {"batch_size": 8}}
    path = tmp_path / "statistics.csv"
    watch = TrainingStatistics(pictures[0][:4], pictures[1][:4], path=path, every=5)
    watched = train("stack", served, out=tmp_path / "watched", callbacks=[watch], **options)
    plain = train("stack", served, out=tmp_path / "plain", **options)
    for a, b in zip(watched.history, plain.history, strict=True):
        assert a["loss"] == b["loss"]
        assert a["val_loss"] == b["val_loss"]
    with path.open() as file:
        rows = list(csv.DictReader(file))
    steps = sorted({int(row["step"]) for row in rows})
    assert steps == list(range(1, 2 * served.steps + 1, 5))
    first = {row["layer"]: row for row in rows if row["step"] == "1"}
    model = kcnn.build("stack", input_shape=(16, 16, 1), depth=1)
    assert set(first) == {layer.name for layer in model.layers[1:]}
    assert {name for name, row in first.items() if row["gradient_norm"]} == {
        layer.name for layer in model.layers if layer.trainable_variables
    }
    assert float(first["logits"]["gradient_norm"]) > 0
    assert 0.2 < float(first["conv1_relu"]["zeros"]) < 0.8
    assert float(first["conv1_bn"]["std"]) == pytest.approx(1, abs=0.1)


def test_training_statistics_have_the_gradient_norm_of_the_loss(small):
    images, labels = planted(4, 0)
    watch = TrainingStatistics(images, labels)
    twin = keras.models.clone_model(small)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    twin.compile(keras.optimizers.SGD(1.0), loss)
    watch.set_model(twin)
    watch.on_train_begin()
    found = {row["layer"]: row["gradient_norm"] for row in watch._sample(1)}
    before = {layer.name: layer.get_weights() for layer in twin.layers}
    twin.train_on_batch(images, labels)
    for name, arrays in before.items():
        if arrays:
            after = twin.get_layer(name).get_weights()
            moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(arrays, after, strict=True)))
            assert found[name] == pytest.approx(moved, rel=1e-3)


def test_training_statistics_resume_at_the_steps_of_an_uninterrupted_training(small, tmp_path):
    images, labels = planted(32, 0)
    twin = keras.models.clone_model(small)
    twin.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    path = tmp_path / "s.csv"
    for _ in range(2):
        watch = TrainingStatistics(images[:4], labels[:4], path=path, every=3, layers="conv*")
        twin.fit(images, labels, batch_size=8, verbose=0, callbacks=[watch])
    assert [row["step"] for row in watch.rows if row["layer"] == "conv1"] == [1, 4, 7]
    assert len(path.read_text().splitlines()) == 1 + len(watch.rows)


def test_cli_inspect_writes_plots_of_a_run_and_lists_them(small, tmp_path, command):
    (tmp_path / "run").mkdir()
    small.save(tmp_path / "run" / "model.keras")
    photo = tmp_path / "photo.png"
    Image.fromarray(planted(2, 0)[0][1, ..., 0].astype("uint8")).save(photo)
    done = command("inspect", str(tmp_path / "run"), str(photo), "--layer", "conv*")
    assert done.returncode == 0, done.stderr
    assert "photo.png: class 1 9" in done.stdout or "photo.png: class 1 100" in done.stdout
    folder = tmp_path / "run" / "inspect" / "photo"
    for name in ("grad_cam.png", "occlusion.png", "filters.png", "activations.png"):
        assert name in done.stdout
        assert Image.open(folder / name).size[0] > 200


def test_cli_inspect_opens_any_keras_model_and_refuses_other_files(small, mobile, tmp_path, command):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (80, 60), (200, 30, 30)).save(photo)
    mobile.save(tmp_path / "theirs.keras")
    done = command("inspect", str(tmp_path / "theirs.keras"), str(photo), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "filters.png").exists()
    (tmp_path / "bad.keras").write_text("no")
    model = tmp_path / "small.keras"
    small.save(model)
    for words, said in (
        (("nowhere", str(photo)), "file not found: nowhere"),
        ((str(tmp_path), str(photo)), "holds no finished run"),
        ((str(tmp_path / "bad.keras"), str(photo)), "is not a .keras file"),
        ((str(model), str(tmp_path / "no.png")), "file not found: "),
        ((str(model), str(model)), f"cannot decode {model}"),
        ((str(model), str(photo), "--layer", "konv*"), "backbone: no layer matches 'konv*'"),
    ):
        done = command("inspect", *words)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("error:") == 1
    assert not (tmp_path / "inspect").exists()


@pytest.mark.every
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_explain_takes_every_network(name):
    wanted = kcnn.trace(name).input.shape
    side = min(wanted[0], max(64, kcnn.min_input_size(name)))
    shape = (side, side, wanted[2])
    model = kcnn.build(name, input_shape=shape, classes=3, seed=0)
    images = np.random.default_rng(0).uniform(0, 255, (1, *shape))
    found = activations(model, images)
    scores = found[model.layers[-1].name]  # not always "logits": SqueezeNet's are a map that is averaged
    np.testing.assert_allclose(scores, model.predict(images, verbose=0), rtol=1e-3, atol=1e-3)
    heat = grad_cam(model, images)
    assert heat.shape == (1, side, side)
    assert 0 <= heat.min() <= heat.max() <= 1
    assert occlusion(model, images, patch=side, stride=side).shape == (1, side, side)
    placed = [layer for layer, values in found.items() if values.ndim == 4]
    if name != "mlp":
        assert filters(model).ndim == 4
    for layer in placed[:: max(1, len(placed) // 4)]:
        assert measure_receptive_field(model, layer, draws=1).agrees, layer
    keras.backend.clear_session()
