"""Points of a space: whether they can be built, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcnn.graph.arguments import check_keywords
from kcnn.graph.graph import Graph
from kcnn.search.space.costs import Costs


class NoFeasiblePointError(ValueError):
    """Raised where no point of a space can be built within its limits."""


@dataclass(frozen=True)
class Feasibility:
    """Whether a point can be built within the limits, and why not.

    Attributes:
        identity: Identity of the network by what it computes; None where the point is rejected.
        costs: Costs of the network; None where it cannot be traced.
        excess: Sum of the relative excesses over the limits: 1 where a number is twice its limit; inf where the network
            cannot be traced.
        reason: The layer that does not fit, or the name of the limit, by which rejections are counted.
        explanation: The reason as a sentence.
    """

    identity: str | None = None
    costs: Costs | None = None
    excess: float = 0.0
    reason: str | None = None
    explanation: str | None = None


@check_keywords
@dataclass(frozen=True)
class Candidate:
    """A feasible point of a space.

    Attributes:
        values: Values of the active choices, by name.
        graph: The network.
        training: Values of the recipe's fields.
    """

    values: Mapping[str, Any]
    graph: Graph
    training: Mapping[str, Any]
