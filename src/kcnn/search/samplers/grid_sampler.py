"""Grid search: every feasible point, spread over the space from the first trials on."""

from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any

from kcnn.search import grid_order
from kcnn.search.journal import Trial
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.space import Space


class GridSampler:
    """Propose the unchanged network first, then every feasible point, each network once.

    Args:
        space: The space.
        default: Values of the unchanged network and its recipe.
    """

    def __init__(self, space: Space, default: Mapping[str, Any]):
        self.space = space
        self.points = iter(chain([dict(default)] if space.has_default else [], grid_order.Grid(space)))

    def propose(self, number: int, identities: Collection[str]) -> Proposal | NoProposal:
        """Return the next trial; after a restart the points of the journal are not new."""
        for values in self.points:
            identity = self.space.identity(values)
            if identity is not None and identity not in identities:
                return Proposal(number, values)
        return NoProposal.STOP

    def restore(self, proposal: Proposal, identities: Collection[str]) -> bool:
        """Take over a trial: there is nothing to remember."""
        return True

    def tell(self, trial: Trial) -> None:
        """Learn nothing."""
