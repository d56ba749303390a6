"""Asynchronous successive halving: the rule by which trials are stopped early."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class SuccessiveHalving:
    """Stop trials that are not among the best: after epochs 1, f, f * f, ... only the best 1/f so far continue.

    This is the stopping variant of asynchronous successive halving (arXiv:1810.05934, section 3.2): no trial waits for
    others, and all continue where fewer than f have a score.

    Args:
        reduction_factor: f; 0 stops no trial.
        epochs: Epochs of a complete trial.
        scores: Scores by epoch, by trial.
    """

    reduction_factor: int
    epochs: int
    scores: dict[int, dict[int, float]] = field(default_factory=dict)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which trials are compared."""
        rungs, epoch = [], 1
        while self.reduction_factor > 1 and epoch < self.epochs:
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return tuple(rungs)

    def should_continue(self, trial: int, epoch: int, score: float) -> bool:
        """Record the score of a trial, and return whether it continues.

        Args:
            trial: Number of the trial.
            epoch: The completed epoch, from 1.
            score: Its score, the higher the better.
        """
        if epoch not in self.rungs:
            return True
        scores = self.scores.setdefault(epoch, {})
        scores[trial] = score
        if len(scores) < self.reduction_factor:
            return True
        better = sum(other > score for other in scores.values())
        return better < len(scores) // self.reduction_factor

    def restore(self, trial: int, scores: Mapping[int, float]) -> None:
        """Record the scores of a trial that ended before a restart.

        Args:
            trial: Number of the trial.
            scores: Scores by epoch.
        """
        for epoch in self.rungs:
            if epoch in scores:
                self.scores.setdefault(epoch, {})[trial] = scores[epoch]
