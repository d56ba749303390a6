"""Benchmark feasibility: points per second of the default space of each network, in processor time of one core.

    python benchmarks/feasibility.py
    python benchmarks/feasibility.py nasnet_large resnet50 --points 2000

On one core, with other work on the machine, 500 points a space, 185 networks: 341 points/s of dpn107, 377 of
efficientnet_v2_xl, 471 of nasnet_large and 524 of densenet169, the slowest; 775 of densenet121, 1,270 of seresnet152,
1,671 of inception_v3, 2,220 of resnet50; the median is 3,356. When each point was traced, these were 42 to 71 for the
slowest, and 54 of inception_v3.
"""

import time
from random import Random
from typing import Annotated

import typer

import kcnn
from kcnn.search.space import Space, default_space

SLOWEST = 10  # networks that are measured again: the faster of both counts, other work may have disturbed the first


def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Networks; all by default.")] = None,
    points: Annotated[int, typer.Option(help="Random points of each space.")] = 500,
) -> None:
    """Print the points per second of each network, the slowest first."""
    speeds: dict[str, float] = {}
    feasible: dict[str, float] = {}
    names = networks or kcnn.list_models()
    for name in names:
        speeds[name], feasible[name] = measure(name, points)
    for name in sorted(names, key=speeds.__getitem__)[:SLOWEST]:
        speeds[name] = max(speeds[name], measure(name, points)[0])
    for name in sorted(names, key=speeds.__getitem__):
        print(f"{speeds[name]:9,.0f} points/s  {feasible[name]:4.0%} feasible  {name}")


def measure(name: str, count: int) -> tuple[float, float]:
    """Return the points per second of a new space, and the fraction of them that is feasible."""
    known = default_space(name)
    space = Space(known.network, known.choices, training=known.training, limits=known.limits)  # nothing is cached
    random = Random(0)
    points = [space.sample_point(random) for _ in range(count)]
    start = time.process_time()
    feasible = sum(space.check(point).identity is not None for point in points)
    return count / (time.process_time() - start), feasible / count


if __name__ == "__main__":
    typer.run(main)
