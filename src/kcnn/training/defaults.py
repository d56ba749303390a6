"""Hyperparameters that follow from the data: all of "auto", and what few images change elsewhere. No Keras here."""

import math
import shlex
from collections.abc import Collection
from typing import Any

from kcnn.architectures.spec import ModelSpec
from kcnn.graph.formatting import format_pair, format_size
from kcnn.graph.graph import Graph
from kcnn.graph.summaries import summarize
from kcnn.training.recipes import Recipe

EPOCHS = (15, 100)  # fewest and most
BATCH_SIZES = ((500, 16), (20_000, 32), (math.inf, 64))  # up to so many training images
NORM_MOMENTUM = (0.9, 0.99)
FEW_STEPS = 100  # in an epoch: as many as a momentum of 0.99 averages over
SMALL_BATCH = 32
COARSE_STRIDE = 16  # and more have networks for large images
EMA_FRACTION = 0.1  # of all steps, which an average of the weights covers at most


def choose_regularization(channels: int) -> dict[str, Any]:
    """Return augmentation and label smoothing for images of 1 or 3 channels, as recipe options.

    Photos may be mirrored and cropped. Gray images are often characters or scans, whose class may depend on orientation
    and position: they stay as they are.

    Args:
        channels: Channels of an image.

    Returns:
        Options by name.
    """
    return {"flip": True, "resized_crop": (0.5, 1.0), "label_smoothing": 0.1} if channels == 3 else {}


def choose_schedule(
    images: int,
    *,
    replicas: int = 1,
    epochs: int | None = None,
    batch_size: int | None = None,
    has_validation: bool = True,
) -> dict[str, Any]:
    """Return batch size, epochs, early stopping and the momentum of batch normalization, as recipe options.

    Few images need more epochs for as many steps: epochs fall with the square root of the number of images. Training
    stops after half of them without a new best, since the last ones, of low learning rates, gain most. Moving averages
    of batch normalization cover a fifth of an epoch, so that validation does not lag behind.

    Args:
        images: Number of training images.
        replicas: Of a distribution strategy; the batch size is a multiple of it.
        epochs: Number of epochs where it is given.
        batch_size: Images per step where it is given.
        has_validation: Whether there are validation images, without which nothing can stop early.

    Returns:
        Options by name.
    """
    if batch_size is None:
        batch_size = next(size for limit, size in BATCH_SIZES if images <= limit)
        batch_size = replicas * max(1, min(batch_size, images // 4) // replicas)
    epochs = epochs or min(EPOCHS[1], max(EPOCHS[0], round(2_000 / math.sqrt(images))))
    return {
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": max(10, epochs // 2) if has_validation else 0,
        "norm_momentum": _choose_norm_momentum(images // batch_size),
    }


def adapt_recipe(
    recipe: Recipe, images: int, norm_momentum: float, *, fixed: Collection[str] = (), replicas: int = 1
) -> dict[str, Any]:
    """Return what few images change in a recipe that does not follow from the data, as recipe options.

    Where an epoch has fewer than 100 steps, batches are of at most 32 images, with SGD's learning rate in proportion
    (arXiv:1706.02677), and moving averages of batch normalization are as short as `choose_schedule` has them. An
    average of the weights covers at most a tenth of all steps.

    Args:
        recipe: The recipe.
        images: Number of training images.
        norm_momentum: The highest of the network's batch norms; 0 where it has none.
        fixed: Options that the request sets itself, which stay.
        replicas: Of a distribution strategy; the batch size is a multiple of it.

    Returns:
        The options that change, by name.
    """
    size, changes = recipe.batch_size, dict[str, Any]()
    if images // size < FEW_STEPS:
        if "batch_size" not in fixed:
            size = min(size, replicas * max(1, SMALL_BATCH // replicas))
        changes["batch_size"] = size
        if recipe.optimizer == "sgd":
            changes["learning_rate"] = recipe.learning_rate * size / recipe.batch_size
        if (momentum := _choose_norm_momentum(images // size)) < norm_momentum:
            changes["norm_momentum"] = momentum
    if recipe.ema_momentum:
        covered = max(1.0, EMA_FRACTION * recipe.epochs * max(1, images // size))
        changes["ema_momentum"] = min(recipe.ema_momentum, round(1 - 1 / covered, 4))
    return {name: value for name, value in changes.items() if name not in fixed and value != getattr(recipe, name)}


def _choose_norm_momentum(steps: int) -> float:
    """The momentum of averages over a fifth of an epoch of so many steps."""
    return round(min(NORM_MOMENTUM[1], max(NORM_MOMENTUM[0], 1 - 5 / max(5, steps))), 3)


def describe_coarse_features(graph: Graph) -> str:
    """Return that a network for large images gets images of which it keeps a single position, as a sentence.

    Args:
        graph: The network, at the size of the images.

    Returns:
        The sentence; empty for any other network.
    """
    features, size = summarize(*graph.outputs.values()).features, format_size(graph.input.shape[:2])
    if min(features.stride) < COARSE_STRIDE or max(features.shape[:2]) > 1:
        return ""
    return (
        f"{graph.name} reduces images by {format_pair(features.stride)} to one position; from {size} pixels it learns "
        "little: choose a larger input size, or a network for small images, such as resnet20"
    )


def advise_transfer(spec: ModelSpec, data: str, multi_label: bool) -> str:
    """Return the command that fine-tunes the pretrained weights of a network, and why, as a sentence.

    Args:
        spec: The network, as it was asked for.
        data: Name of the data.
        multi_label: Whether an image has any number of labels.
    """
    words = ["kcnn", "transfer", "--network", str(spec.network), "--data", data]
    for name, value in spec.options.items():
        words += ["--model-option", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    if spec.nominal_shape != spec.architecture.input_shape:
        words += ["--input-size", format_size(spec.nominal_shape)]
    words += ["--multi-label"] if multi_label else []
    return (
        f"{spec.network} has pretrained weights, and fine-tuning them needs fewer images than training from scratch: "
        f"{shlex.join(words)}"
    )
