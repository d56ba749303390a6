"""How large a space is, how much of it is feasible, and what refuses the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from kcnn.search.space.choices import format_value
from kcnn.search.space.search_space import LIMITS, NoFeasiblePointError, Space

EXACT = 1_000  # points: so many are all looked at
SAMPLES = 500  # of a larger space
STARTS = 10  # points to walk from where no feasible one was met by chance


@dataclass(frozen=True)
class Rejection:
    """Points refused for one reason: a layer that does not fit, or a limit."""

    reason: str
    points: int
    example: Mapping[str, Any]  # as few choices as are refused by themselves, the others as the network has them
    explanation: str
    min_input_size: int | None  # pixels of the side of the smallest square image on which the example fits

    def __str__(self) -> str:
        said = (
            " + ".join(f"{name} {format_value(value)}" for name, value in self.example.items())
            or "the network as it is"
        )
        needs = (
            f"; needs an input of at least {self.min_input_size}x{self.min_input_size}" if self.min_input_size else ""
        )
        return f"{said}: {self.explanation}{needs}"


@dataclass(frozen=True)
class FeasibilityReport:
    """A space measured: all of its points where there are few, else a sample of them."""

    combinations: int
    sampled: int
    feasible: int  # of those looked at
    distinct: int  # networks among them
    low: float  # the share of feasible points, and its confidence interval; one number where all were looked at
    feasible_fraction: float
    high: float
    rejections: tuple[Rejection, ...]  # the most frequent first

    @property
    def exact(self) -> bool:
        return self.sampled == self.combinations

    def __str__(self) -> str:
        if self.exact:
            head = f"{self.combinations:,} points, {self.feasible:,} feasible ({self.feasible_fraction:.1%}), "
            head += f"{self.distinct:,} networks among them"
        else:
            head = f"{self.combinations:,} points, {self.feasible_fraction:.1%} feasible "
            head += f"({self.low:.1%} to {self.high:.1%} with 95 % confidence, from {self.sampled:,})"
        refused = [f"  {one.points:,} of {self.sampled:,} refused: {one}" for one in self.rejections]
        return "\n".join([head, *refused])


def analyze_feasibility(space: Space, *, seed: int = 0, samples: int = SAMPLES) -> FeasibilityReport:
    """How many points a space has, the share of them that is feasible, and why others are refused.

    Exact up to 1,000 points, else estimated from `samples` random ones, with a 95 % interval after Wilson.
    NothingFeasible where no feasible point is found: with the limit or layer that binds.
    """
    if space.combinations <= EXACT:
        points = list(space.points())
    else:
        random = Random(f"survey {seed}")
        points = [space.pick(random) for _ in range(samples)]
    verdicts = [space.judge(point) for point in points]
    networks = {verdict.identity for verdict in verdicts} - {None}
    feasible = sum(verdict.identity is not None for verdict in verdicts)
    groups: dict[str, list[dict[str, Any]]] = {}
    for point, verdict in zip(points, verdicts, strict=True):
        if verdict.refusal is not None:
            groups.setdefault(verdict.refusal, []).append(point)
    refusals = [_explained(space, reason, group) for reason, group in groups.items()]
    refusals.sort(key=lambda one: -one.points)
    exact = len(points) == space.combinations
    share = feasible / len(points)
    low = high = share
    if not exact:
        from kcnn.statistics import wilson_interval  # which loads SciPy

        low, high = wilson_interval(feasible, len(points))
    if not feasible and (exact or not _somewhere(space, seed)):
        raise NoFeasiblePointError(_nothing(space, points, refusals[0], exact))
    return FeasibilityReport(
        space.combinations, len(points), feasible, len(networks), low, share, high, tuple(refusals)
    )


def _explained(space: Space, reason: str, points: list[dict[str, Any]]) -> Rejection:
    """A group of refused points by its simplest example."""
    usual = space.default
    point = min(points, key=lambda one: sum(usual.get(name) != value for name, value in one.items()))
    here = dict(point)
    for name, value in usual.items():
        if name in here and here[name] != value and space.judge({**here, name: value}).refusal == reason:
            here[name] = value
    for name in [name for name in here if name not in usual]:  # of layers that the network as it is does not have
        without = {other: value for other, value in here.items() if other != name}
        if space.judge(without).refusal == reason:
            here = without
    example = {c.name: here[c.name] for c in space.of_network if c.name in here and here[c.name] != usual.get(c.name)}
    verdict = space.judge(here)
    needs = None
    if reason not in LIMITS and "exceeds the padded input" in (verdict.why or ""):
        chosen = {c.name: here[c.name] for c in space.of_network if c.name in here}
        options = {name: value for name, value in chosen.items() if "." not in name}
        changes = {name: value for name, value in chosen.items() if "." in name}
        needs = space.spec(options, changes).min_input_size()
    return Rejection(reason, len(points), example, verdict.why or "", needs)


def _somewhere(space: Space, seed: int) -> bool:
    """Whether a feasible point is found by walking towards the limits."""
    random = Random(f"walk {seed}")
    starts = [space.default, *(space.pick(random) for _ in range(STARTS))]
    return any(space.judge(space.walk(start, random)).identity is not None for start in starts)


def _nothing(space: Space, points: list[dict[str, Any]], worst: Rejection, exact: bool) -> str:
    """That no point is feasible, with what binds and how near the nearest point comes."""
    random = Random("nearest")
    nearest = min((space.judge(space.walk(p, random)) for p in points[:STARTS]), key=lambda verdict: verdict.excess)
    looked = f"none of its {len(points):,} points" if exact else f"none of {len(points):,} of its points"
    binds = nearest if nearest.costs else None
    said = f"what binds is {binds.refusal}: at the nearest point {binds.why}" if binds else f"what binds: {worst}"
    return f"{space.name}: {looked} is feasible; {said}"
