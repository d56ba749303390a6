"""kcnn.predict and its Predictions: from Python as on the command line."""

import io
import json
import re
import struct

import keras
import numpy as np
import pytest
import scipy.special
from PIL import Image

import kcnn
from kcnn.data.decoding import ImageDecodeError
from kcnn.export import Predictions, SkippedImagesWarning
from kcnn.export.opened_model import OpenedModel, prepare_image
from kcnn.export.predictions import MAX_ROWS

CLASSES = ["ant", "bee", "c<a>t"]


def open_fake(probabilities, **metadata):
    """A model that gives these probabilities, whatever the images."""
    metadata = {"classes": CLASSES, "input_shape": [8, 8, 1], **metadata}
    return OpenedModel("fake", metadata, lambda: lambda pixels: np.asarray(probabilities)[: len(pixels)])


def predict_fake(probabilities, top=3, threshold=None, **metadata):
    """Predict one gray image for each row of probabilities."""
    images = np.full((len(probabilities), 8, 8), 9, "uint8")
    return kcnn.predict(open_fake(probabilities, **metadata), images, top=top, threshold=threshold)


def test_predictions_of_one_label_are_ordered_by_probability():
    predictions = predict_fake([[0.1, 0.7, 0.2]], top=2)
    assert predictions.labels == (("bee",),)
    assert predictions[0] == {"bee": 0.7, "c<a>t": 0.2}
    assert predictions.describe(0) == "bee 70.0%, c<a>t 20.0%"
    assert str(predictions).splitlines()[1].split() == ["image", "0", "bee", "70.0%,", "c<a>t", "20.0%"]


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
    assert page.count('" src="data:image/png;base64,') == page.count("<tr>") == MAX_ROWS
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


def save(image, kind, **options):
    """The content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


COLORS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), "uint8"))
DEEP = np.random.default_rng(1).integers(0, 65536, (8, 8), "uint16")
DEEP_TIFF = save(Image.fromarray(DEEP), "TIFF")
FILES = {
    "transparent palette": save(COLORS.quantize(64).convert("PA"), "TIFF"),
    "16 bits": save(Image.fromarray(DEEP), "PNG"),
    "16 bits, big-endian": save(Image.fromarray(DEEP.astype(">u2")), "TIFF"),
    "16 bits, 0 for white": save(Image.fromarray(DEEP), "TIFF", tiffinfo={262: 0}),
    "12 bits": DEEP_TIFF.replace(struct.pack("<HHIH", 258, 3, 1, 16), struct.pack("<HHIH", 258, 3, 1, 12)),
    "16 bits of PGM": b"P5 8 8 65535\n" + DEEP.astype(">u2").tobytes(),
    "10 bits of PGM": b"P5 8 8 1023\n" + (DEEP >> 6).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("channels", [1, 3])
def test_prepare_image_takes_an_opened_file_as_the_file(kind, channels, tmp_path):
    (tmp_path / "image").write_bytes(FILES[kind])
    opened = open_fake([], input_shape=[8, 8, channels])
    pixels = prepare_image(tmp_path / "image", opened)
    with Image.open(tmp_path / "image") as image:
        assert (prepare_image(image, opened) == pixels).all()
    assert pixels.std() > 40


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_prepare_image_puts_transparent_pillow_images_on_white(mode):
    opened, image = open_fake([], input_shape=[8, 8, 3]), Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    image = image.quantize(4).convert("PA") if mode == "PA" else image.convert("LA" if mode == "La" else mode)
    assert (prepare_image(image.convert(mode), opened) == 255).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_prepare_image_refuses_a_pillow_image_without_a_range(mode):
    with pytest.raises(ValueError, match=f"the range of a Pillow image of mode {mode} is not defined; convert it to"):
        prepare_image(Image.new(mode, (8, 8)), open_fake([]))


def test_predict_refuses_what_it_cannot_read(model, tmp_path):
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(ImageDecodeError, match="not an image file"):
        kcnn.predict(model, tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match=r"file not found: nothing\.png"):
        kcnn.predict(model, "nothing.png")
    with pytest.raises(ValueError, match="no image to predict"):
        kcnn.predict(model, [])
    with pytest.raises(FileNotFoundError, match=r"file not found: nowhere.keras"):
        kcnn.predict("nowhere.keras", tmp_path / "b.png")
    with pytest.raises(ValueError, match="a Keras model has its own"):
        kcnn.predict(model, tmp_path / "b.png", weights="imagenet")


def test_predictions_are_a_sequence_of_what_was_predicted_for_each_image():
    predictions = predict_fake([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]], top=2)
    assert [(one.path, one.label, one.probability) for one in predictions] == [
        ("image 0", "bee", 0.7),
        ("image 1", "ant", 0.6),
    ]
    assert len(predictions) == 2
    assert predictions[-1] == {"ant": 0.6, "bee": 0.3}
    assert predictions.count_labels() == {"bee": 1, "ant": 1}
    with pytest.raises(IndexError):
        predictions[2]


def test_predictions_below_the_threshold_are_unsure():
    predictions = predict_fake([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], threshold=0.6)
    assert predictions.labels == (("bee",), ())
    assert [one.label for one in predictions] == ["bee", "unsure"]
    assert predictions.describe(1) == "unsure (ant 50.0%, bee 30.0%, c<a>t 20.0%)"
    with pytest.raises(ValueError, match="a probability from 0 to 1, got 60"):
        predict_fake([[0.1, 0.7, 0.2]], threshold=60)
    with pytest.raises(ValueError, match="applies to models with one label per image"):
        predict_fake([[0.1, 0.7, 0.2]], threshold=0.5, multi_label=True)
    with pytest.raises(ValueError, match="has a class 'unsure'"):
        predict_fake([[0.1, 0.9]], threshold=0.5, classes=["ant", "unsure"])


def test_predictions_are_written_as_csv_and_json(tmp_path):
    predictions = predict_fake([[0.1, 0.7, 0.2]], top=1)
    predictions.to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "file,label,probability,p(ant),p(bee),p(c<a>t)",
        "image 0,bee,0.7,0.1,0.7,0.2",
    ]
    predictions.to_json(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {"file": "image 0", "label": "bee", "probability": 0.7, "probabilities": {"bee": 0.7}}
    ]
    assert predict_fake([[0.6, 0.7, 0.2]], multi_label=True).rows()[0]["label"] == "ant;bee"


def test_to_dataframe_has_a_row_for_each_image_or_names_the_extra():
    predictions = predict_fake([[0.1, 0.7, 0.2]])
    try:
        import pandas
    except ImportError:
        with pytest.raises(ImportError, match=r'pip install "kcnn\[pandas\]"'):
            predictions.to_dataframe()
        return
    assert isinstance(predictions.to_dataframe(), pandas.DataFrame)
    assert predictions.to_dataframe().loc[0].to_dict() == predictions.rows()[0]


@pytest.fixture
def photos(tmp_path):
    """A folder with six images in it and below, and a hidden one."""
    for name in ("a.png", "b.png", "c/d.jpg", "c/e.png", "c/f/g.bmp", ".h.png", "=i.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), len(name), "uint8")).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def names(predictions, photos):
    return [path.removeprefix(f"{photos}/") for path in predictions.paths]


def test_predict_takes_folders_and_globs(photos):
    fake = open_fake([[0.1, 0.7, 0.2]] * 32)
    assert names(kcnn.predict(fake, photos), photos) == ["=i.png", "a.png", "b.png", "c/d.jpg", "c/e.png", "c/f/g.bmp"]
    assert names(kcnn.predict(fake, str(photos / "*.png")), photos) == ["=i.png", "a.png", "b.png"]
    assert names(kcnn.predict(fake, f"{photos}/**/*.[jb]*"), photos) == ["c/d.jpg", "c/f/g.bmp"]
    assert names(kcnn.predict(fake, [photos / "b.png", photos / "c" / "f"]), photos) == ["b.png", "c/f/g.bmp"]
    assert len(kcnn.predict(fake, (path for path in [photos / "b.png"] * 70))) == 70
    with pytest.raises(FileNotFoundError, match=r"no image matches .*\*\.webp"):
        kcnn.predict(fake, f"{photos}/*.webp")
    (photos / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty has no image: none ends in \.jpg"):
        kcnn.predict(fake, photos / "empty")


def test_predict_leaves_broken_files_of_folders_out_and_names_them(photos):
    (photos / "b.png").write_text("no image")
    fake = open_fake([[0.1, 0.7, 0.2]] * 32)
    with pytest.warns(SkippedImagesWarning, match=r"1 file could not be decoded, such as .*b\.png: not an image file"):
        predictions = kcnn.predict(fake, photos)
    assert len(predictions) == 5
    assert predictions.skipped == ((str(photos / "b.png"), "not an image file"),)
    with pytest.raises(ImageDecodeError, match=r"b\.png"):
        kcnn.predict(fake, [photos / "a.png", photos / "b.png"])


def test_predict_reads_no_further_than_two_batches_ahead_and_keeps_no_pixels():
    read, predicted = [], []

    def images():
        for number in range(200):
            read.append(number)
            yield np.full((8, 8), number % 256, "uint8")

    def run(pixels):
        assert len(read) - sum(predicted) <= 3 * 32
        predicted.append(len(pixels))
        return np.full((len(pixels), 3), 1 / 3)

    opened = OpenedModel("fake", {"classes": CLASSES, "input_shape": [8, 8, 1]}, lambda: run)
    predictions = kcnn.predict(opened, images())
    assert (len(predictions), len(predictions.thumbnails), predicted) == (200, MAX_ROWS, [32] * 6 + [8])
    held = (value for value in vars(predictions).values() if isinstance(value, np.ndarray))
    assert [array.shape for array in held] == [(200, 3)]


def test_predict_takes_one_color_image_as_one_and_an_array_of_images_as_several():
    fake = open_fake([[0.1, 0.7, 0.2]] * 32)
    assert len(kcnn.predict(fake, np.zeros((8, 8), "uint8"))) == 1
    assert len(kcnn.predict(fake, np.zeros((8, 8, 3), "uint8"))) == 1
    assert len(kcnn.predict(fake, np.zeros((5, 8, 8), "uint8"))) == 5
    assert len(kcnn.predict(fake, np.zeros((5, 8, 8, 3), "uint8"))) == 5
    assert len(kcnn.predict(fake, Image.new("CMYK", (8, 8)))) == 1


@pytest.mark.parametrize("kind", ["built", "saved", "foreign"])
def test_predict_gives_several_labels_of_a_model_that_ends_in_several_sigmoids(kind, tmp_path):
    import keras

    spec = kcnn.ModelSpec(network="mlp", classes=3, input_shape=(8, 8, 1), activation="sigmoid")
    model = kcnn.build(spec, seed=0)
    if kind == "foreign":
        image = keras.Input((8, 8, 1))
        model = keras.Model(image, keras.layers.Dense(3, activation="sigmoid")(keras.layers.Flatten()(image)))
    scores = model.layers[-1] if kind == "foreign" else model.get_layer(model.metadata["classifier"])
    scores.set_weights([np.zeros_like(scores.kernel), np.array([1.0, -1.0, 2.0])])
    source = model
    if kind == "saved":
        source = tmp_path / "model.keras"
        model.save(source)
    result = kcnn.predict(source, np.zeros((1, 8, 8, 1), "uint8"))
    assert result.multi_label
    assert result.labels == (("class 0", "class 2"),)
    np.testing.assert_allclose(result.probabilities, 1 / (1 + np.exp([[-1.0, 1.0, -2.0]])), atol=1e-6)


@pytest.mark.parametrize("count", [3, 31, 70])
def test_predict_computes_batches_by_the_optimized_network(count, monkeypatch, tmp_path):
    model, optimized = kcnn.build("mobilenet_v2", width=0.35, input_shape=(32, 32, 3), classes=3), []
    model.save(tmp_path / "model.keras")
    monkeypatch.setattr(
        "kcnn.export.inference_model.optimize_for_inference",
        lambda one, optimize=kcnn.optimize_for_inference: optimized.append(optimize(one)) or optimized[-1],
    )
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype("uint8")
    predicted = kcnn.predict(tmp_path / "model.keras", images).probabilities
    assert len(optimized) == (count >= 32)
    logits = model.predict(images.astype("float32"), verbose=0)
    np.testing.assert_allclose(predicted, scipy.special.softmax(logits, axis=1), atol=1e-5)
    np.testing.assert_allclose(kcnn.predict(model, images).probabilities, predicted, atol=1e-5)
    assert len(optimized) == (count >= 32)  # a model in memory is not optimized anew in every call


def test_predict_of_many_images_leaves_a_quantized_network_as_it_is(tmp_path):
    model = kcnn.build("convnet", input_shape=(12, 12, 1), classes=3)
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (33, 12, 12, 1)).astype("uint8")
    expected = scipy.special.softmax(model.predict(images.astype("float32"), verbose=0), axis=1)
    np.testing.assert_allclose(kcnn.predict(tmp_path / "model.keras", images).probabilities, expected, atol=1e-5)
    with pytest.raises(TypeError, match=r"quantized \(int8\): optimize the model before"):
        kcnn.optimize_for_inference(model)


@keras.saving.register_keras_serializable("tests")
class InTraining(keras.layers.Layer):
    """Does something else in training, which is its default."""

    def call(self, x, training=True):
        return x * 0 if training else x


def test_optimize_for_inference_calls_a_layer_as_in_inference():
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, InTraining()(keras.layers.Conv2D(2, 1)(image)))
    x = np.ones((1, 4, 4, 1), "float32")
    np.testing.assert_allclose(kcnn.optimize_for_inference(model)(x), model(x, training=False))
