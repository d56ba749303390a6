"""Keras' pretrained MobileNet weights of width 0.25 separate photos of ants from photos of bees."""

import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import kcnn
from kcnn.data.decoding import decode
from kcnn.graph.ops import CENTERED, STANDARDIZED, Rescale

SHARED = Path(__file__).parents[3] / "shared" / "data"
FILE = SHARED / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
PHOTOS = SHARED / "hymenoptera.zip"


def features(model, folder):
    """Mean features and class of every photo, cropped to 224 of a shorter side of 256."""
    photos = {name: sorted(f for f in (folder / name).iterdir() if f.suffix != ".gif") for name in ("ants", "bees")}
    files = [(y, f) for y, name in enumerate(photos) for f in photos[name]]
    x = np.stack([decode(f, (224, 224, 3), resize_shorter_to=256) for _, f in files]).astype("float32")
    return model.predict(x, verbose=0).mean((1, 2)), np.array([y for y, _ in files])


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not beside this checkout")
def test_build_with_pretrained_weights_separates_ants_from_bees(tmp_path):
    zipfile.ZipFile(PHOTOS).extractall(tmp_path)
    (train,) = tmp_path.rglob("train")
    model = kcnn.build("mobilenet_v1", width=0.25, top=False, weights=FILE)
    x, y = features(model, train)
    photos, labels = features(model, train.parent / "val")
    assert (len(y), len(labels)) == (244, 153)
    assert LogisticRegression(max_iter=2000).fit(x, y).score(photos, labels) >= 0.86


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not beside this checkout")
@pytest.mark.parametrize("rescale", [Rescale(), STANDARDIZED, CENTERED])
def test_load_weights_gives_gray_photos_the_features_of_the_color_network(rescale, tmp_path):
    zipfile.ZipFile(PHOTOS).extractall(tmp_path)
    files = sorted(tmp_path.rglob("train/ants/*.jpg"))[:8]
    gray = np.stack([decode(file, (224, 224, 1)) for file in files]).astype("float32")
    net = replace(kcnn.get_architecture("mobilenet_v1"), rescale=rescale)
    options = {"width": 0.25, "outputs": ["stem", "unit13_pointwise_relu6"], "weights": FILE}
    expected = kcnn.build(net, **options).predict(np.repeat(gray, 3, -1), verbose=0)
    for channels in (1, 2, 4):
        model = kcnn.build(net, input_shape=(224, 224, channels), **options)
        stem, features = model.predict(np.repeat(gray, channels, -1), verbose=0)
        assert np.abs(stem - expected[0]).max() <= 1e-5 * np.abs(expected[0]).max(), channels
        difference = features.mean((1, 2)) - expected[1].mean((1, 2))  # 27 layers of float32 later
        assert np.abs(difference).max() <= 1e-5 * np.abs(expected[1].mean((1, 2))).max(), channels


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not beside this checkout")
def test_build_with_weights_by_name_has_the_weights_of_their_file(tmp_path, monkeypatch):
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    shutil.copy(FILE, mirror)
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", str(mirror))
    monkeypatch.setenv("KCNN_CACHE", str(cache))
    named = kcnn.build("mobilenet_v1", width=0.25, top=False, weights="imagenet")
    given = kcnn.build("mobilenet_v1.keras", width=0.25, top=False, weights=FILE)
    assert all((a == b).all() for a, b in zip(named.get_weights(), given.get_weights(), strict=True))
    assert [f.name for f in (cache / "weights").rglob("*.h5")] == [FILE.name]
    with pytest.raises(ValueError, match="missing logits/kernel"):
        kcnn.build("mobilenet_v1", width=0.25, weights=FILE)
    adapted = kcnn.load_weights(kcnn.build("mobilenet_v1", width=0.25, top=False, input_shape=(224, 224, 1)), FILE)
    assert adapted.adapted == {"stem/kernel": "3 channels summed to 1"}


def test_cli_predict_with_pretrained_weights_names_the_class(tmp_path, monkeypatch, capsys):
    import keras

    from kcnn.cli import main

    theirs = keras.applications.MobileNet(alpha=0.25, weights=None, classifier_activation=None)
    bias = np.zeros(1000, "float32")
    bias[309] = 1e6  # whatever the image shows
    theirs.get_layer("conv_preds").bias.assign(bias)
    (tmp_path / "mirror").mkdir()
    theirs.save_weights(tmp_path / "mirror" / "own.weights.h5")
    (tmp_path / "mirror" / "own.weights.h5").rename(tmp_path / "mirror" / "mobilenet_2_5_224_tf.h5")
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (300, 400), "yellow").save(tmp_path / "photo.jpg")
    words = [
        "kcnn",
        "predict",
        "mobilenet_v1",
        str(tmp_path / "photo.jpg"),
        "--model-option",
        "width=0.25",
        "--top",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert "photo.jpg: bee 100.0%" in capsys.readouterr().out.replace("\n", "")
    words[2] = "mobilenet_v1.keras"  # a variant, not a .keras file
    words[4:4] = ["--weights", str(tmp_path / "mirror" / "mobilenet_2_5_224_tf.h5")]  # the same, as a file
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert "photo.jpg: bee 100.0%" in capsys.readouterr().out.replace("\n", "")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:300])
    words[3:3] = [str(tmp_path / "truncated.jpg")]
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "photo.jpg: bee 100.0%" in printed.out.replace("\n", "")
    assert f"cannot decode {tmp_path / 'truncated.jpg'}" in printed.err.replace("\n", "")
    model = kcnn.build("mobilenet_v1", width=0.25, weights="imagenet")
    assert model.metadata["preprocessing"] == {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    assert model.metadata["classes"][309] == "bee"
    assert "preprocessing" not in kcnn.build("mobilenet_v1", width=0.25, weights="imagenet", classes=3).metadata
