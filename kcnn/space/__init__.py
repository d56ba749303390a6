"""Spaces of networks to search in: choices by address, conditions, limits, and how much of them is feasible."""

from kcnn.space.choices import Choice, Range, each, only_if
from kcnn.space.default import default_space, stack_space
from kcnn.space.space import Candidate, NothingFeasible, Space
from kcnn.space.survey import Refusal, Survey, survey

__all__ = [
    "Candidate",
    "Choice",
    "NothingFeasible",
    "Range",
    "Refusal",
    "Space",
    "Survey",
    "default_space",
    "each",
    "only_if",
    "stack_space",
    "survey",
]
