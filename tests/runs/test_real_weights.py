"""Keras' own MobileNet weights, 0.25 wide, tell real ants from real bees."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import kcnn
from kcnn.data.images import decode

SHARED = Path(__file__).parents[3] / "shared" / "data"
FILE = SHARED / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
PHOTOS = SHARED / "hymenoptera.zip"


def features(model, folder):
    """Mean features and class of every photo, cropped to 224 of a shorter side of 256."""
    photos = {name: sorted(f for f in (folder / name).iterdir() if f.suffix != ".gif") for name in ("ants", "bees")}
    files = [(y, f) for y, name in enumerate(photos) for f in photos[name]]
    x = np.stack([decode(f, (224, 224, 3), shorter=256) for _, f in files]).astype("float32")
    return model.predict(x, verbose=0).mean((1, 2)), np.array([y for y, _ in files])


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not beside this checkout")
def test_a_regression_on_frozen_features_tells_ants_from_bees(tmp_path):
    zipfile.ZipFile(PHOTOS).extractall(tmp_path)
    (train,) = tmp_path.rglob("train")
    model = kcnn.build("mobilenet_v1", width=0.25, top=False, weights=FILE)
    x, y = features(model, train)
    seen, truth = features(model, train.parent / "val")
    assert (len(y), len(truth)) == (244, 153)
    assert LogisticRegression(max_iter=2000).fit(x, y).score(seen, truth) >= 0.86


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not beside this checkout")
def test_the_file_is_the_one_that_the_table_names_and_is_found_by_name(tmp_path, monkeypatch):
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    shutil.copy(FILE, mirror)
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", str(mirror))
    monkeypatch.setenv("KCNN_CACHE", str(cache))
    named = kcnn.build("mobilenet_v1", width=0.25, top=False, weights="imagenet")
    given = kcnn.build("mobilenet_v1.keras", width=0.25, top=False, weights=FILE)
    assert all((a == b).all() for a, b in zip(named.get_weights(), given.get_weights(), strict=True))
    assert [f.name for f in (cache / "weights").rglob("*.h5")] == [FILE.name]
    with pytest.raises(ValueError, match="missing are logits/kernel"):
        kcnn.build("mobilenet_v1", width=0.25, weights=FILE)
    adapted = kcnn.load_weights(kcnn.build("mobilenet_v1", width=0.25, top=False, input_shape=(224, 224, 1)), FILE)
    assert adapted.adapted == {"stem/kernel": "summed over 3 channels"}
