"""The rule by which a trial is stopped early: successive halving, without waiting for others."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class SuccessiveHalving:
    """A trial goes on after epoch 1, f, f * f, ... while it is among the best 1/f of all that came so far.

    This is the stopping rule of asynchronous successive halving (arXiv:1810.05934, section 3.2, as its stopping
    variant): no trial waits for others, and fewer than f trials at an epoch are no evidence, so that all go on.
    `factor` 0 stops none.
    """

    reduction_factor: int
    epochs: int  # of a whole trial
    scores: dict[int, dict[int, float]] = field(default_factory=dict)  # by epoch, by trial

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which is asked."""
        found, epoch = [], 1
        while self.reduction_factor > 1 and epoch < self.epochs:
            found.append(epoch)
            epoch *= self.reduction_factor
        return tuple(found)

    def should_continue(self, trial: int, epoch: int, score: float) -> bool:
        """Whether a trial goes on after an epoch, `score` the higher the better; the score is remembered."""
        if epoch not in self.rungs:
            return True
        there = self.scores.setdefault(epoch, {})
        there[trial] = score
        if len(there) < self.reduction_factor:
            return True
        better = sum(other > score for other in there.values())
        return better < len(there) // self.reduction_factor

    def remember(self, trial: int, scores: Mapping[int, float]) -> None:
        """What a trial of an earlier start came to, by epoch."""
        for epoch in self.rungs:
            if epoch in scores:
                self.scores.setdefault(epoch, {})[trial] = scores[epoch]
