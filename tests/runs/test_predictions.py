"""kcnn.predict and its Predictions: from Python as on the command line."""

import re

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.data.decoding import ImageDecodeError
from kcnn.export.prediction import MAX_ROWS, OpenedModel, Predictions, predict_pixels

CLASSES = ["ant", "bee", "c<a>t"]


def open_fake(probabilities, **metadata):
    """A model that gives these probabilities, whatever the images."""
    metadata = {"classes": CLASSES, "input_shape": [8, 8, 1], **metadata}
    return OpenedModel("fake", metadata, lambda: lambda pixels: np.asarray(probabilities)[: len(pixels)])


def predict_fake(probabilities, top=3, **metadata):
    pixels = [np.full((8, 8, 1), 9, "uint8")] * len(probabilities)
    return predict_pixels(open_fake(probabilities, **metadata), ["a.png"] * len(pixels), pixels, top)


def test_predictions_of_one_label_are_ordered_by_probability():
    predictions = predict_fake([[0.1, 0.7, 0.2]], top=2)
    assert predictions.labels == (("bee",),)
    assert predictions[0] == {"bee": 0.7, "c<a>t": 0.2}
    assert predictions.describe(0) == "bee 70.0%, c<a>t 20.0%"
    assert str(predictions).splitlines()[1].split() == ["a.png", "bee", "70.0%,", "c<a>t", "20.0%"]


@pytest.mark.parametrize(
    ("row", "top", "text"),
    [  # thresholds 0.5, 0.9 and 0.1: a label may be less probable than a class that is none
        ([0.4, 0.8, 0.2], 3, "c<a>t 20.0% (others: bee 80.0%, ant 40.0%)"),
        ([0.4, 0.8, 0.2], 1, "c<a>t 20.0%"),
        ([0.6, 0.8, 0.2], 1, "ant 60.0%, c<a>t 20.0%"),
        ([0.1, 0.2, 0.05], 1, "no label (others: bee 20.0%)"),
    ],
)
def test_predictions_of_several_labels_keep_and_mark_every_label(row, top, text):
    assert predict_fake([row], top, multi_label=True, thresholds=[0.5, 0.9, 0.1]).describe(0) == text


def test_predictions_show_images_and_escaped_names_in_a_notebook():
    page = predict_fake([[0.1, 0.2, 0.7]] * (MAX_ROWS + 2))._repr_html_()
    assert page.count('<img alt="a.png" src="data:image/png;base64,') == page.count("<tr>") == MAX_ROWS
    assert "2 more images" in page
    assert "c&lt;a&gt;t 70.0%" in page
    assert not re.search("<a>", page)


@pytest.fixture(scope="module")
def model():
    return kcnn.build("lenet5", classes=3, seed=0)


def test_predict_takes_files_arrays_and_pillow_images(model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), "uint8")
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    predictions = kcnn.predict(model, [tmp_path / "a.png", pixels, pixels[..., None], image], top=1)
    assert isinstance(predictions, Predictions)
    assert predictions.paths == (str(tmp_path / "a.png"), "image 1", "image 2", "image 3")
    np.testing.assert_allclose(predictions.probabilities, np.tile(predictions.probabilities[:1], (4, 1)), rtol=1e-5)
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert len(kcnn.predict(model, str(tmp_path / "a.png"))) == 1
    assert len(predictions[0]) == 1


def test_predict_refuses_what_it_cannot_read(model, tmp_path):
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(ImageDecodeError, match="not an image file"):
        kcnn.predict(model, tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match=r"file not found: nothing\.png"):
        kcnn.predict(model, "nothing.png")
    with pytest.raises(ValueError, match="there are no images"):
        kcnn.predict(model, [])
    with pytest.raises(FileNotFoundError, match=r"file not found: nowhere.keras"):
        kcnn.predict("nowhere.keras", tmp_path / "b.png")
    with pytest.raises(ValueError, match="a Keras model has its own"):
        kcnn.predict(model, tmp_path / "b.png", weights="imagenet")
