"""Spaces of networks to search in: choices by address, conditions, limits, and how much of them is feasible."""

from kcnn.space.choices import Choice, Range, per_layer, conditional
from kcnn.space.default import default_space, stack_space
from kcnn.space.space import Candidate, NoFeasiblePointError, Space
from kcnn.space.survey import Rejection, FeasibilityReport, analyze_feasibility

__all__ = [
    "Candidate",
    "Choice",
    "NoFeasiblePointError",
    "Range",
    "Rejection",
    "Space",
    "FeasibilityReport",
    "default_space",
    "per_layer",
    "conditional",
    "stack_space",
    "analyze_feasibility",
]
