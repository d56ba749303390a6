"""One phase of fine-tuning as a value: which layers train, and how. No Keras here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kcnn.graph.arguments import check_keywords
from kcnn.graph.overrides import to_builtin

BATCH_NORM_MODES = ("frozen", "adapt")


@check_keywords
@dataclass(frozen=True)
class TrainingPhase:
    """Define which layers train, for how long and how fast, and what batch normalization does meanwhile.

    Args:
        epochs: Number of epochs.
        trainable: "head", the classifier; a number of stages, the last ones and the head; "all"; or globs of layer
            names, of "head", and of stages ("stage3" has output stride 8).
        learning_rate: Peak of the schedule.
        lr_multipliers: Factors to the learning rate by the same globs; the last that matches a layer counts.
        batch_norm: "frozen" uses the pretrained statistics, scales and shifts of the backbone, also where a stage
            trains; "adapt" uses the statistics of each batch and updates the moving averages, also where it is frozen.

    Raises:
        ValueError: A value is out of range.
    """

    epochs: int
    trainable: str | int | Sequence[str] = "head"
    learning_rate: float = 1e-3
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    batch_norm: str = "frozen"

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, to_builtin(getattr(self, item.name)))
        if not isinstance(self.trainable, str | int) and isinstance(self.trainable, Iterable):
            object.__setattr__(self, "trainable", tuple(self.trainable))
        layers = (self.trainable,) if isinstance(self.trainable, str) else self.trainable
        factors = self.lr_multipliers if isinstance(self.lr_multipliers, Mapping) else {None: None}
        checks = (
            ("epochs", type(self.epochs) is int and self.epochs >= 1, "a positive integer"),
            (
                "trainable",
                (type(layers) is int and layers >= 0)
                or (isinstance(layers, tuple) and layers and all(isinstance(one, str) for one in layers)),
                '"head", "all", a number of stages, or globs of layers such as ["stage4_*", "head"]',
            ),
            (
                "learning_rate",
                isinstance(self.learning_rate, int | float) and 0 < self.learning_rate < math.inf,
                "a number above 0",
            ),
            (
                "lr_multipliers",
                all(
                    isinstance(k, str) and isinstance(v, int | float) and 0 <= v < math.inf for k, v in factors.items()
                ),
                'factors of at least 0 by globs of layers, such as {"stage1_*": 0.1}',
            ),
            ("batch_norm", self.batch_norm in BATCH_NORM_MODES, f"one of {', '.join(BATCH_NORM_MODES)}"),
        )
        for name, holds, expected in checks:
            if not holds:
                raise ValueError(f"{name} of a training phase must be {expected}, got {getattr(self, name)!r}")

    def to_json(self) -> dict[str, Any]:
        """Return every field as JSON values."""
        return asdict(self)
