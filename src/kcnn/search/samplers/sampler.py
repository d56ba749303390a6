"""What a sampler is: it proposes trials of a space one by one, and is told how each ended. No library here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from kcnn.search.journal import Trial


class NoProposal(Enum):
    """Why there is no proposal: WAIT for the end of another trial, or STOP, since none will follow."""

    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True)
class Proposal:
    """A trial that is to be run.

    Attributes:
        number: Its number.
        values: Values of the active choices, by name; feasible.
        epochs: Epochs of training, those of `promoted_from` included; None for those of the recipe.
        promoted_from: Number of the trial whose training it continues.
    """

    number: int
    values: Mapping[str, Any]
    epochs: int | None = None
    promoted_from: int | None = None


class Sampler(Protocol):
    """Propose trials; equal calls in the same order have equal results, so that a journal can be replayed."""

    def propose(self, number: int, identities: Collection[str]) -> Proposal | NoProposal:
        """Return the next trial, with a feasible network.

        Args:
            number: Its number.
            identities: Identities of the candidates that were proposed before, none of which is proposed again.
        """
        ...

    def restore(self, proposal: Proposal, identities: Collection[str]) -> bool:
        """Take over a trial that was proposed before a restart, in place of `propose`.

        Args:
            proposal: The trial.
            identities: As for `propose`.

        Returns:
            Whether the sampler goes on as if it had proposed it.
        """
        ...

    def tell(self, trial: Trial) -> None:
        """Learn how a trial ended.

        Args:
            trial: The trial.
        """
        ...
