"""Published datasets: of TensorFlow Datasets, and a folder of photos with a stray file."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kcnn import data

SHARED = Path(__file__).parents[3] / "shared"

TINY = """
import sys
import numpy as np
import tensorflow_datasets as tfds


class TinyGray(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(9, 9, 1)), "label": tfds.features.ClassLabel(num_classes=4)}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, downloads):
        return {"train": self._generate_examples(24), "test": self._generate_examples(8)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": np.full((9, 9, 1), 8 * i + count, "uint8"), "label": i % 4}


if sys.argv[1] != "None":
    tfds.builder("tiny_gray", file_format=sys.argv[1]).download_and_prepare()
from kcnn import data

dataset = data.load("tfds:tiny_gray", input_shape=(6, 6, 1), batch_size=5)
sizes = {word: len(split) for word, split in dataset.splits.items()}
assert sizes == {"train": 20, "validation": 4, "test": 8}, sizes
for pixels, labels in dataset.test:
    assert ((pixels.numpy()[:, 0, 0, 0] - 8) / 8 % 4 == labels.numpy()).all()
assert len(dataset.duplicates) == 6, dataset.duplicates
"""


@pytest.mark.parametrize(
    "prepared", [None, *(pytest.param(one, marks=pytest.mark.every) for one in ("tfrecord", "array_record"))]
)
def test_load_reads_tensorflow_datasets_in_every_format(prepared, tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, str(tmp_path / "tiny.py"), str(prepared)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_load_reads_ants_and_bees_with_a_stray_file(tmp_path):
    archive = SHARED / "data" / "hymenoptera.zip"
    if not archive.exists():
        pytest.skip("the ants-and-bees photos are not beside this checkout")
    zipfile.ZipFile(archive).extractall(tmp_path)
    root = next(path.parent for path in tmp_path.rglob("train"))
    found = data.load(root, input_shape=(32, 32, 3))
    assert found.classes == ("ants", "bees")
    assert {word: len(split) for word, split in found.splits.items()} == {"train": 221, "validation": 24, "test": 153}
