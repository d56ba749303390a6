"""Numbered batches that follow from a seed, and Data, which serves them as tf.data, or without TensorFlow to Keras."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kcnn.data.decoding import fit_array
from kcnn.data.image_cache import Skipped, bytes_per_image, map_parallel
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION
from kcnn.data.splits import Duplicate, Split, find_duplicates, join_splits, split_indices

BITS = 1 << 64  # of a seed


@functools.lru_cache(maxsize=4)
def shuffle_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of 0 to count - 1 that follows from seed and epoch; raw bits are the same in every NumPy."""
    bits = np.random.PCG64([seed % BITS, epoch]).random_raw(count)
    return np.argsort(bits, kind="stable")


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """Batches of some epochs by number, or of each the slice `shard` (i, n): pixels uint8, labels int64."""

    split: Split
    seed: int
    epochs: tuple[int, int]
    steps: int
    rows: int  # of a whole batch
    shard: tuple[int, int]

    def __len__(self) -> int:
        return self.steps * (self.epochs[1] - self.epochs[0])

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        (epoch, batch), (index, shards) = self._place(number), self.shard
        first = batch * self.rows + index * self.rows // shards
        mine = shuffle_order(self.seed, epoch, len(self.split))[first : first + self.rows // shards]
        return self.split.full(mine)

    def chance(self, number: int) -> np.ndarray:
        """The stateless seed, int64 (2,), by which a batch is augmented."""
        words = np.random.SeedSequence([self.seed % BITS, *self._place(number), self.shard[0]])
        return words.generate_state(2, np.uint64).astype("int64")

    def _place(self, number: int) -> tuple[int, int]:
        epochs, batch = divmod(number, self.steps)
        return self.epochs[0] + epochs, batch


@dataclass(frozen=True, eq=False)
class EvaluationBatches:
    """Batches of a split in a fixed order; a picture that cannot be decoded is left out, and its label with it.

    So is a batch in which none can: how many there are has to be known before they are read.
    """

    split: Split
    rows: int

    def __len__(self) -> int:
        return len(self._firsts)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        first = int(self._firsts[number])
        return self.split.images(np.arange(first, min(first + self.rows, len(self.split))))

    @cached_property
    def _firsts(self) -> np.ndarray:
        firsts = np.arange(0, len(self.split), self.rows)
        if self.split.store.checked:
            return firsts
        good = self.split.decode(firsts)
        for i in np.flatnonzero(~good):
            others = range(firsts[i] + 1, min(firsts[i] + self.rows, len(self.split)))
            good[i] = any(self.split.decode(np.array([place]))[0] for place in others)
        return firsts[good]


@dataclass(frozen=True, eq=False)
class FittedBatches:
    """Batches with their pictures brought to another size."""

    batches: TrainingBatches | EvaluationBatches
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self.batches[number]
        if pixels.shape[1:] == self.shape:
            return pixels, labels
        fitted = bytes_per_image((len(pixels), *self.shape), "uint8")

        def one(i: int) -> None:
            fitted[i] = fit_array(pixels[i], self.shape)

        map_parallel(one, range(len(pixels)))
        return fitted, labels


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Splits of one data set, ready to train on.

    Batches are float32 pixels 0..255 (n, rows, columns, channels) and int64 labels: class numbers (n,), or
    where a picture may have several labels 0 and 1 (n, classes). They come as a tf.data.Dataset, or where
    TensorFlow is not installed as a keras.utils.PyDataset. Where files turn out to be broken only as they
    are met, labels of the batches are the truth: in training the next picture takes the place of one that
    cannot be decoded, elsewhere it is left out.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    batch_size: int
    seed: int
    splits: dict[str, Split]
    skipped: list[Skipped]  # grows as broken files are met
    warnings: tuple[str, ...]

    @cached_property
    def duplicates(self) -> tuple[Duplicate, ...]:
        """Pictures that stand in two splits byte for byte, looked for when first asked."""
        return find_duplicates(self.splits)

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have any number of labels."""
        return self.splits[TRAIN].labels.ndim == 2

    @property
    def train(self) -> Any:
        """One epoch of training batches, in the order of the first epoch."""
        return self.epochs(0, 1)

    @property
    def validation(self) -> Any:
        """Validation batches in a fixed order."""
        return self._evaluated(VALIDATION)

    @property
    def test(self) -> Any:
        """Test batches in a fixed order."""
        return self._evaluated(TEST)

    @property
    def train_and_validation(self) -> "ImageDataset":
        """The same data with train and validation as one train split, and no validation: for a last training."""
        both = join_splits(self.splits[TRAIN], self.splits[VALIDATION])
        return dataclasses.replace(self, splits={TRAIN: both, TEST: self.splits[TEST]})

    def subset(self, **images: int) -> "ImageDataset":
        """The same data with so many pictures in a split, of each class its share: fewer(train=3000, validation=1000).

        A split that has no more is left whole. LookupError for a split that is not there.
        """
        splits = dict(self.splits)
        for word, most in images.items():
            if word not in splits:
                raise LookupError(f"{self.name} has no split {word!r}; it has {', '.join(splits)}")
            if most < len(splits[word]):
                splits[word] = splits[word].take(split_indices(splits[word].labels, most, self.seed, self.classes)[1])
        return dataclasses.replace(self, splits=splits)

    @property
    def steps(self) -> int:
        """Whole batches in one epoch of training; one where there are fewer images than a batch has."""
        return max(1, len(self.splits[TRAIN]) // self.batch_size)

    def epochs(self, first: int, last: int, augmentation: Any = None, shard: Sequence[int] = (0, 1)) -> Any:
        """Training batches of epochs `first` up to `last`: an epoch's order follows from the seed and its number.

        What an epoch has beyond whole batches is left out of it. `augmentation` is a
        kcnn.augment.Augmentation; a batch's changes follow from the seed, its epoch and its number.
        `shard=(i, n)` gives the i-th of n equal slices of every batch, and decodes no other.
        ValueError for a batch that n does not divide; ImportError for augmentation without TensorFlow.
        """
        split, (index, shards) = self.splits[TRAIN], shard
        rows = min(self.batch_size, len(split))
        if not 0 <= index < shards or rows % shards:
            raise ValueError(
                f"slice {index} of {shards} of a batch of {rows}: a batch is cut into equal slices, counted from 0; "
                f"take a batch size that {shards} divides"
            )
        batches = TrainingBatches(split, self.seed, (first, last), self.steps, rows, (index, shards))
        if augmentation is None or augmentation == type(augmentation)():
            return self._served(FittedBatches(batches, self.input_shape), rows // shards)
        if not has_tensorflow():
            raise ImportError(
                "augmentation runs in tf.data and takes TensorFlow, which is not installed: pip install tensorflow, "
                "or train without augmentation"
            )
        from kcnn.data import tf_pipeline

        change = tf_pipeline.BatchTransform(augmentation, self.input_shape[:2], len(self.classes), batches.chance)
        return tf_pipeline.make_dataset(batches, (*split.store.shape,), rows // shards, split.labels.shape[1:], change)

    def _evaluated(self, word: str) -> Any:
        return self._served(
            FittedBatches(EvaluationBatches(self.splits[word], self.batch_size), self.input_shape), None
        )

    def _served(self, batches: FittedBatches, rows: int | None) -> Any:
        if has_tensorflow():
            from kcnn.data import tf_pipeline

            return tf_pipeline.make_dataset(batches, self.input_shape, rows, self.splits[TRAIN].labels.shape[1:])
        from kcnn.data import python_pipeline

        return python_pipeline.Prefetch(batches)


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed, and with it tf.data."""
    try:
        import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        return False
    return True
