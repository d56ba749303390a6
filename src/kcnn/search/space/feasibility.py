"""The size of a search space, its feasible fraction, and the reasons of rejections."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords
from kcnn.graph.formatting import format_number, format_value
from kcnn.search.space.candidate import NoFeasiblePointError
from kcnn.search.space.limits import NAMES as LIMITS
from kcnn.search.space.search_space import Space

MAX_EXACT = 1_000  # points that are all checked
SAMPLES = 500  # of a larger space
MAX_SAMPLES = 1_000_000  # which take half an hour
STARTS = 10  # points to repair where no random one is feasible


@check_keywords
@dataclass(frozen=True)
class Rejection:
    """Points that are rejected for one reason: a layer that does not fit, or a limit.

    Attributes:
        reason: The layer or the limit.
        points: Their number.
        example: The fewest values that are rejected with the network's own values elsewhere.
        explanation: The reason as a sentence.
        min_input_size: Side in pixels of the smallest square image that fits the example; None for a limit.
    """

    reason: str
    points: int
    example: Mapping[str, Any]
    explanation: str
    min_input_size: int | None

    def __str__(self) -> str:
        values = " + ".join(f"{name} {format_value(value)}" for name, value in self.example.items())
        side = self.min_input_size
        needs = f"; needs an input of at least {side}x{side}" if side else ""
        return f"{values or 'the unchanged network'}: {self.explanation}{needs}"


@check_keywords
@dataclass(frozen=True)
class FeasibilityReport:
    """Feasibility of a space: of all points of a small one, of a sample of a larger one.

    Attributes:
        combinations: Number of points of the space.
        sampled: Number of points that were checked.
        feasible: Number of those that are feasible.
        distinct: Number of different networks among the feasible.
        low: Lower end of the 95% interval of `feasible_fraction`; equal to it where all points were checked.
        feasible_fraction: Fraction of the points that is feasible.
        high: Upper end of the interval.
        rejections: Reasons of rejections, the most frequent first.
    """

    combinations: int
    sampled: int
    feasible: int
    distinct: int
    low: float
    feasible_fraction: float
    high: float
    rejections: tuple[Rejection, ...]

    @property
    def exact(self) -> bool:
        """Whether all points were checked."""
        return self.sampled == self.combinations

    def __str__(self) -> str:
        if self.exact:
            first = f"{format_number(self.combinations, 'point')}, {self.feasible:,} feasible "
            first += f"({self.feasible_fraction:.1%})"
            if self.distinct < self.feasible:  # several points can be one network
                first += f", {format_number(self.distinct, 'different network')}"
        else:
            first = f"{self.combinations:,} points, {self.feasible_fraction:.1%} feasible "
            first += f"({self.low:.1%} to {self.high:.1%} with 95% confidence, from {self.sampled:,})"
        rejected = [f"  {one.points:,} of {self.sampled:,} rejected: {one}" for one in self.rejections]
        return "\n".join([first, *rejected])


@check_arguments
def analyze_feasibility(space: Space, *, seed: int = 0, samples: int = SAMPLES) -> FeasibilityReport:
    """Compute or estimate the feasible fraction of a space, and the reasons of rejections.

    Args:
        space: The space.
        seed: Seed of the sample.
        samples: Number of random points of a space of more than 1,000 points.

    Returns:
        The report: exact up to 1,000 points, else with a 95% interval (Wilson).

    Raises:
        NoFeasiblePointError: No feasible point was found; the message has the limit or the layer that rejects them.
    """
    check_integer("samples", samples, 1, f"an integer from 1 to {MAX_SAMPLES:,}", maximum=MAX_SAMPLES)
    if space.combinations <= MAX_EXACT:
        points = list(space.points())
    else:
        random = Random(f"survey {seed}")
        points = [space.sample_point(random) for _ in range(samples)]
    checks = [space.check(point) for point in points]
    networks = {check.identity for check in checks} - {None}
    feasible = sum(check.identity is not None for check in checks)
    groups: dict[str, list[dict[str, Any]]] = {}
    for point, check in zip(points, checks, strict=True):
        if check.reason is not None:
            groups.setdefault(check.reason, []).append(point)
    rejections = [_explain(space, reason, group) for reason, group in groups.items()]
    rejections.sort(key=lambda rejection: -rejection.points)
    exact = len(points) == space.combinations
    fraction = feasible / len(points)
    low = high = fraction
    if not exact:
        from kcnn.statistics import wilson_interval  # loads SciPy

        low, high = wilson_interval(feasible, len(points))
    if not feasible and (exact or not _has_feasible_point(space, seed)):
        raise NoFeasiblePointError(_explain_infeasible(space, points, rejections[0], exact))
    return FeasibilityReport(
        space.combinations, len(points), feasible, len(networks), low, fraction, high, tuple(rejections)
    )


def _explain(space: Space, reason: str, points: list[dict[str, Any]]) -> Rejection:
    """A group of rejected points by its simplest example."""
    default = space.default

    def count_changes(point: Mapping[str, Any]) -> int:
        return sum(default.get(name) != value for name, value in point.items())

    simplest = min(points, key=count_changes)
    point = dict(simplest)
    for name, value in default.items():
        if name in point and point[name] != value and space.check({**point, name: value}).reason == reason:
            point[name] = value
    for name in [name for name in point if name not in default]:  # of layers that the unchanged network does not have
        without = {other: value for other, value in point.items() if other != name}
        if space.check(without).reason == reason:
            point = without
    example = {
        c.name: point[c.name] for c in space.network_choices if c.name in point and point[c.name] != default.get(c.name)
    }
    explanation = space.check(point).explanation or ""
    side = None
    if reason not in LIMITS and "exceeds the padded input" in explanation:
        side = space.model_spec(point).min_input_size()
    return Rejection(reason, len(points), example, explanation, side)


def _has_feasible_point(space: Space, seed: int) -> bool:
    """Whether the repair of some points finds a feasible one."""
    random = Random(f"walk {seed}")
    starts = [space.default, *(space.sample_point(random) for _ in range(STARTS))]
    return any(space.check(space.repair(start, random)).identity is not None for start in starts)


def _explain_infeasible(space: Space, points: list[dict[str, Any]], worst: Rejection, exact: bool) -> str:
    """The message for a space without a feasible point: what rejects all, and how near the nearest point is."""
    random = Random("nearest")
    nearest = min((space.check(space.repair(p, random)) for p in points[:STARTS]), key=lambda check: check.excess)
    checked = f"none of its {len(points):,} points" if exact else f"none of {len(points):,} of its points"
    reason = f"{nearest.reason}: at the nearest point {nearest.explanation}" if nearest.costs else str(worst)
    return f"{space.name}: {checked} is feasible, because of {reason}"
