"""Auxiliary classifiers: one label in, one output out, and gone on export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn

X = np.random.default_rng(0).uniform(0, 255, (4, 65, 65, 1)).astype("float32")
Y = np.array([0, 1, 2, 1])


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def model():
    model = kcnn.build("googlenet", classes=3, input_shape=(65, 65, 1), aux=True, dropout=0.0, seed=0)
    model.compile(keras.optimizers.SGD(0.0), crossentropy(), metrics=["accuracy"])
    return model


def test_fit_adds_three_tenths_of_each_auxiliary_loss(model):
    history = model.fit(X, Y, epochs=1, batch_size=4, validation_data=(X, Y), verbose=0).history
    outputs = model(X, training=True)
    main, *aux = (float(crossentropy()(Y, logits)) for logits in outputs)
    assert len(aux) == 2
    assert history["loss"][0] == pytest.approx(main + 0.3 * sum(aux), rel=1e-4)
    assert history["aux1_loss"][0] == pytest.approx(aux[0], rel=1e-4)
    assert history["aux2_loss"][0] == pytest.approx(aux[1], rel=1e-4)
    accuracy = float(np.mean(np.argmax(outputs[1], -1) == Y))
    assert history["aux1_accuracy"][0] == pytest.approx(accuracy)
    assert history["val_loss"][0] == pytest.approx(main, rel=1e-4)
    assert not any(name.startswith("val_aux") for name in history)


def test_fit_passes_sample_weights_to_every_loss(model):
    weights = np.array([1.0, 0.0, 2.0, 0.5])
    history = model.fit(X, Y, sample_weight=weights, epochs=1, batch_size=4, verbose=0).history
    outputs = model(X, training=True)
    main, *aux = (float(crossentropy()(Y, logits, weights)) for logits in outputs)
    assert history["loss"][0] == pytest.approx(main + 0.3 * sum(aux), rel=1e-4)


def test_fit_takes_rows_of_probabilities(model):
    again = kcnn.build("googlenet", classes=3, input_shape=(65, 65, 1), aux=True, dropout=0.0, seed=0)
    again.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    history = again.fit(X, keras.utils.to_categorical(Y), epochs=1, verbose=0).history
    assert {"aux1_loss", "aux2_accuracy"} <= set(history)


def test_predict_gives_one_output(model):
    assert model.predict(X, verbose=0).shape == (4, 3)
    assert model(X).shape == (4, 3)
    assert model(keras.Input((65, 65, 1))).shape == (None, 3)


def test_fit_with_a_loss_by_name_trains_the_auxiliary_classifiers():
    model = kcnn.build("googlenet", classes=3, input_shape=(65, 65, 1), aux=True, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(model.fit(X, Y, epochs=1, verbose=0).history["aux1_loss"][0])


def test_fit_refuses_several_losses():
    model = kcnn.build("googlenet", classes=3, input_shape=(65, 65, 1), aux=True, seed=0)
    model.compile("sgd", [crossentropy()])
    with pytest.raises(ValueError, match="expects one loss for all its outputs"):
        model.fit(X, Y, epochs=1, verbose=0)


@pytest.mark.every
def test_save_and_load_keep_auxiliary_classifiers(model, tmp_path):
    model.save(tmp_path / "aux.keras")
    loaded = kcnn.load_model(tmp_path / "aux.keras")
    assert (loaded.predict(X, verbose=0) == model.predict(X, verbose=0)).all()
    assert "aux2_loss" in loaded.fit(X, Y, epochs=1, verbose=0).history


def test_export_drops_auxiliary_classifiers_and_keeps_the_main_output_to_the_bit(model, tmp_path):
    expected = model.predict(X, verbose=0)
    slim = model.without_aux()
    assert slim.count_params() == kcnn.build("googlenet", classes=3, input_shape=(65, 65, 1)).count_params()
    assert (slim.predict(X, verbose=0) == expected).all()
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "saved"))
    assert (exported.serve(X).numpy() == expected).all()
    assert sum(int(np.prod(v.shape)) for v in exported.variables) == slim.count_params()
