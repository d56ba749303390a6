"""A phase of a training as a value. No Keras here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

BATCH_NORM_MODES = ("frozen", "adapt")


@dataclass(frozen=True)
class TrainingPhase:
    """What trains for some epochs, how fast, and what batch norms do meanwhile.

    `train` is "head", what stands behind the features; a number of stages, the last so many and the
    head; "all"; or one or more globs of layer names, of "head", and of stages by stride ("stage3",
    stride 8). `learning_rate` is the highest, `multipliers` are factors to it by the same globs, of
    which the last that fits a layer counts. `norms` "frozen": the batch norms of the body compute
    with the statistics, scales and shifts that they came with, also where their stage trains;
    "adapt": with those of each batch, and their moving averages follow, also where their stage is
    frozen. ValueError for what is none of that.
    """

    epochs: int
    trainable: str | int | Sequence[str] = "head"
    learning_rate: float = 1e-3
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    batch_norm: str = "frozen"

    def __post_init__(self) -> None:
        if not isinstance(self.trainable, str | int):
            object.__setattr__(self, "trainable", tuple(self.trainable))
        words = (self.trainable,) if isinstance(self.trainable, str) else self.trainable
        rates = isinstance(self.lr_multipliers, Mapping)
        wants = (
            ("epochs", type(self.epochs) is int and self.epochs >= 1, "a whole number of at least 1"),
            (
                "trainable",
                (type(words) is int and words >= 0)
                or (isinstance(words, tuple) and words and all(isinstance(one, str) for one in words)),
                '"head", "all", a number of stages, or globs of layers such as ["stage4_*", "head"]',
            ),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            (
                "lr_multipliers",
                rates and all(isinstance(k, str) and 0 <= v < math.inf for k, v in self.lr_multipliers.items()),
                'factors of at least 0 by globs of layers, such as {"stage1_*": 0.1}',
            ),
            ("batch_norm", self.batch_norm in BATCH_NORM_MODES, f"one of {', '.join(BATCH_NORM_MODES)}"),
        )
        for name, holds, wanted in wants:
            if not holds:
                raise ValueError(f"a phase's {name} must be {wanted}, not {getattr(self, name)!r}")

    def asdict(self) -> dict[str, Any]:
        """Every choice by name, as JSON has it."""
        return asdict(self)
