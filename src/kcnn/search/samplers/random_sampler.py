"""Random search: candidates that are fixed by seed and number."""

from collections.abc import Collection, Mapping
from typing import Any

from kcnn.search.journal import Trial
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.space import NoFeasiblePointError, Space


class RandomSampler:
    """Propose the unchanged network first, then random candidates.

    Args:
        space: The space.
        default: Values of the unchanged network and its recipe.
        seed: The seed.
    """

    def __init__(self, space: Space, default: Mapping[str, Any], seed: int):
        self.space, self.default, self.seed = space, default, seed

    def propose(self, number: int, identities: Collection[str]) -> Proposal | NoProposal:
        """Return the next trial."""
        values = sample_values(self.space, self.default, self.seed, number, identities)
        return NoProposal.STOP if values is None else Proposal(number, values)

    def restore(self, proposal: Proposal, identities: Collection[str]) -> bool:
        """Take over a trial: there is nothing to remember."""
        return True

    def tell(self, trial: Trial) -> None:
        """Learn nothing."""


def sample_values(
    space: Space, default: Mapping[str, Any], seed: int, number: int, identities: Collection[str]
) -> dict[str, Any] | None:
    """Return the values of a random candidate, or those of the unchanged network for the first one.

    Args:
        space: The space.
        default: Values of the unchanged network and its recipe.
        seed: The seed.
        number: Number of the trial.
        identities: Identities of the candidates that were proposed before.

    Returns:
        The values; None where no candidate is left.
    """
    if number == 0 and space.has_default:
        return dict(default)
    try:
        return dict(space.sample(f"{seed}/{number}", exclude=identities).values)
    except NoFeasiblePointError:
        return None
