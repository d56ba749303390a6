"""Search spaces of networks: choices by address, conditions, limits, and the feasible fraction."""

from kcnn.search.space.candidate import Candidate, NoFeasiblePointError
from kcnn.search.space.choices import Choice, Range, conditional, per_layer
from kcnn.search.space.defaults import default_space, stack_space
from kcnn.search.space.feasibility import FeasibilityReport, Rejection, analyze_feasibility
from kcnn.search.space.limits import Limits
from kcnn.search.space.search_space import Space

__all__ = [
    "Candidate",
    "Choice",
    "FeasibilityReport",
    "Limits",
    "NoFeasiblePointError",
    "Range",
    "Rejection",
    "Space",
    "analyze_feasibility",
    "conditional",
    "default_space",
    "per_layer",
    "stack_space",
]
