"""Batches by number that follow from a seed, and the dataset that gives them as tf.data or a Keras PyDataset."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kcnn.augment import Augmentation, augment
from kcnn.buffer_pool import allocate
from kcnn.data.decoding import fit_array
from kcnn.data.image_cache import Pixels, SkippedImage
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION
from kcnn.data.splits import Duplicate, Split, find_duplicates, join_splits
from kcnn.data.stratification import sample_indices
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.names import unknown
from kcnn.parallel import map_parallel

SEEDS = 1 << 64  # a NumPy seed is a number below


@functools.lru_cache(maxsize=4)
def shuffled_indices(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return a permutation of 0 to count - 1; raw bits are the same in every version of NumPy.

    Args:
        seed: Of the dataset.
        epoch: Number of the epoch.
        count: Number of images.

    Returns:
        int64 (count,).
    """
    bits = np.random.PCG64([seed % SEEDS, epoch]).random_raw(count)
    return np.argsort(bits, kind="stable")


def fit_images(images: Pixels, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images cropped centrally and resized to a shape where they have another.

    Args:
        images: (images, rows, columns, channels), or a list of whole ones.
        shape: (rows, columns, channels).

    Returns:
        (images, *shape).
    """
    if isinstance(images, np.ndarray) and images.shape[1:] == shape:
        return images
    fitted = allocate((len(images), *shape), "uint8")

    def fit_one(i: int) -> None:
        fitted[i] = fit_array(images[i], shape)

    map_parallel(fit_one, range(len(images)))
    return fitted


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """Batches of some epochs by number, or a slice of each: pixels uint8 of one size or whole, labels int64.

    Args:
        split: Images and labels.
        seed: Draws the order of each epoch.
        epochs: First epoch, and the one after the last.
        steps: Batches per epoch.
        rows: Images of a complete batch.
        shard: (i, n) for the i-th of n equal slices of every batch.
    """

    split: Split
    seed: int
    epochs: tuple[int, int]
    steps: int
    rows: int
    shard: tuple[int, int]

    def __len__(self) -> int:
        return self.steps * (self.epochs[1] - self.epochs[0])

    def __getitem__(self, number: int) -> tuple[Pixels, np.ndarray]:
        (epoch, batch), (index, shards) = self._position(number), self.shard
        first = batch * self.rows + index * self.rows // shards
        order = shuffled_indices(self.seed, epoch, len(self.split))
        return self.split.read_batch(order[first : first + self.rows // shards])

    def augmentation_seed(self, number: int) -> np.ndarray:
        """Return the seed, int64 (2,), of a batch's augmentation.

        Args:
            number: Of the batch.
        """
        sequence = np.random.SeedSequence([self.seed % SEEDS, *self._position(number), self.shard[0]])
        return sequence.generate_state(2, np.uint64).astype("int64")

    def _position(self, number: int) -> tuple[int, int]:
        epochs, batch = divmod(number, self.steps)
        return self.epochs[0] + epochs, batch


@dataclass(frozen=True, eq=False)
class EvaluationBatches:
    """Batches of a split in a fixed order, without the images that cannot be decoded.

    A batch in which no image can be decoded is left out: the number of batches is known before they are read.
    """

    split: Split
    rows: int

    def __len__(self) -> int:
        return len(self._firsts)

    def __getitem__(self, number: int) -> tuple[Pixels, np.ndarray]:
        first = int(self._firsts[number])
        return self.split.read_decodable(np.arange(first, min(first + self.rows, len(self.split))))

    @property
    def _firsts(self) -> np.ndarray:
        return self.split.find_batches(self.rows)


@dataclass(frozen=True, eq=False)
class ResizedBatches:
    """Batches with their images resized to a shape."""

    batches: TrainingBatches | EvaluationBatches
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self.batches[number]
        return fit_images(pixels, self.shape), labels


@dataclass(frozen=True, eq=False)
class AugmentedBatches:
    """Training batches, augmented: pixels float32, and labels float32 (images, classes) where images are mixed."""

    batches: TrainingBatches
    augmentation: Augmentation
    size: tuple[int, int]
    classes: int

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self.batches[number]
        seed = self.batches.augmentation_seed(number)
        return augment(self.augmentation, pixels, labels, size=self.size, classes=self.classes, seed=seed)


@check_keywords
@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Labeled images in splits, ready to train on.

    Batches are float32 pixels 0..255 (images, rows, columns, channels) and int64 labels: class numbers (images,), or
    with several labels per image 0 and 1 (images, classes). They are a tf.data.Dataset, or without TensorFlow a
    keras.utils.PyDataset. If files turn out to be broken when they are read, the labels of the batches count: in
    training the next image replaces a broken one, in evaluation it is left out.

    Args:
        name: Where the images are from.
        classes: Class names.
        input_shape: (rows, columns, channels).
        batch_size: Images per batch.
        seed: Draws the order of the training images.
        splits: By name: "train", "validation", "test".
        skipped: Images that could not be decoded so far.
        warnings: What is unusual about the data, a sentence each.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    batch_size: int
    seed: int
    splits: dict[str, Split]
    skipped: list[SkippedImage]
    warnings: tuple[str, ...]

    @cached_property
    def duplicates(self) -> tuple[Duplicate, ...]:
        """Return the images that are byte for byte in two splits or with two labels, searched for at the first use."""
        return find_duplicates(self.splits, self.classes, self.input_shape)

    @property
    def multi_label(self) -> bool:
        """Return whether an image may have any number of labels."""
        return self.splits[TRAIN].labels.ndim == 2

    @property
    def train(self) -> Any:
        """Return the training batches of the first epoch."""
        return self.epochs(0, 1)

    @property
    def validation(self) -> Any:
        """Return the validation batches in a fixed order."""
        return self._evaluation_batches(VALIDATION)

    @property
    def test(self) -> Any:
        """Return the test batches in a fixed order."""
        return self._evaluation_batches(TEST)

    @property
    def train_and_validation(self) -> "ImageDataset":
        """Return the dataset with train and validation joined and no validation split, for a final training."""
        both = join_splits(self.splits[TRAIN], self.splits[VALIDATION])
        return dataclasses.replace(self, splits={TRAIN: both, TEST: self.splits[TEST]})

    def subset(
        self, *, train: int | None = None, validation: int | None = None, test: int | None = None
    ) -> "ImageDataset":
        """Return the dataset with fewer images, stratified by class.

        Args:
            train: Number of training images; by default, and if there are no more, all.
            validation: Number of validation images.
            test: Number of test images.

        Returns:
            A new dataset over the same images.

        Raises:
            UnknownNameError: The dataset lacks the split.
        """
        splits = dict(self.splits)
        for name, images in {TRAIN: train, VALIDATION: validation, TEST: test}.items():
            if images is None:
                continue
            if name not in splits:
                raise unknown("split", name, splits, self.name)
            if images < len(splits[name]):
                positions = sample_indices(splits[name].labels, images, self.seed, self.classes)
                splits[name] = splits[name].take(positions)
        return dataclasses.replace(self, splits=splits)

    @property
    def steps(self) -> int:
        """Return the number of complete batches per epoch; 1 if there are fewer images than a batch has."""
        return max(1, len(self.splits[TRAIN]) // self.batch_size)

    def epochs(
        self, first: int, last: int, augmentation: Augmentation | None = None, shard: Sequence[int] = (0, 1)
    ) -> Any:
        """Return the training batches of some epochs; the order of each follows from the seed and its number.

        Images beyond the last complete batch of an epoch are left out of it.

        Args:
            first: First epoch.
            last: The epoch after the last.
            augmentation: Changes of the images; those of a batch follow from seed, epoch and its number.
            shard: (i, n) for the i-th of n equal slices of every batch; no other image is decoded.

        Returns:
            tf.data.Dataset, or keras.utils.PyDataset without TensorFlow: Keras' `fit` shuffles the batches of the
            latter unless it is given shuffle=False.

        Raises:
            ValueError: n does not divide the batch.
        """
        split, (index, shards) = self.splits[TRAIN], shard
        rows = min(self.batch_size, len(split))
        if not 0 <= index < shards or rows % shards:
            raise ValueError(
                f"slice {index} of {shards} of a batch of {rows}: a batch is cut into equal slices, counted from 0; "
                f"choose a batch size that {shards} divides"
            )
        batches = TrainingBatches(split, self.seed, (first, last), self.steps, rows, (index, shards))
        if augmentation is None or augmentation == Augmentation():
            return self._pipeline(ResizedBatches(batches, self.input_shape), rows // shards)
        is_mixed = bool(augmentation.mixup or augmentation.cutmix)
        augmented = AugmentedBatches(batches, augmentation, self.input_shape[:2], len(self.classes))
        return self._pipeline(augmented, rows // shards, is_mixed=is_mixed)

    def _evaluation_batches(self, split: str) -> Any:
        batches = EvaluationBatches(self.splits[split], self.batch_size)
        return self._pipeline(ResizedBatches(batches, self.input_shape), None)

    def _pipeline(self, batches: Any, rows: int | None, *, is_mixed: bool = False) -> Any:
        if has_tensorflow():
            from kcnn.data import tf_pipeline

            labels = (len(self.classes),) if is_mixed else self.splits[TRAIN].labels.shape[1:]
            dtype = "float32" if is_mixed else "int64"
            return tf_pipeline.make_dataset(batches, self.input_shape, rows, labels, dtype)
        from kcnn.data import python_pipeline

        return python_pipeline.Prefetch(batches)


@check_arguments
def has_tensorflow() -> bool:
    """Return whether TensorFlow, and with it tf.data, is installed.

    Returns:
        False where it is not; Keras then trains on batches from Python.
    """
    try:
        import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        return False
    return True
