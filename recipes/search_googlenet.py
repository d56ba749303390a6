"""GoogLeNet's stem, kernels and strides for small pictures: Fashion-MNIST, or a folder of yours, in a quarter hour.

    python recipes/search_googlenet.py                  # pip install "kcnn[search,tfds]"
    python recipes/search_googlenet.py --data photos/ --input 96x96x3 --images 2000

Not measured to its end yet. On 2 CPU cores that did other work as well, 8 minutes were three trials, since TensorFlow
takes half a minute to compile each network: give it more.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from kcnn.cli.backend import start
from kcnn.cli.console import shape
from kcnn.space import Range, default_space, survey

NETWORK = "googlenet.bn"  # at 224 pixels its first layers divide by 8 what 32 pixels do not have


def main(
    data: Annotated[str, typer.Option(help='"tfds:NAME", a folder of class folders, a CSV.')] = "tfds:fashion_mnist",
    input: Annotated[str, typer.Option(help="Image size.")] = "32x32x1",
    images: Annotated[int, typer.Option(help="Training pictures, by class; all where there are fewer.")] = 3000,
    minutes: Annotated[float, typer.Option(help="Budget of the trials.")] = 8,
    epochs: Annotated[int, typer.Option(help="Of a whole trial.")] = 4,
    seeds: Annotated[int, typer.Option(help="Of the last training, the best against the network as it is.")] = 3,
    seed: Annotated[int, typer.Option(help="Fixes everything but the clock.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the search.")] = Path("runs/search-googlenet"),
    smoke: Annotated[bool, typer.Option("--smoke", help="One trial of one epoch on 200 digits.")] = False,
) -> None:
    start()
    from kcnn.data import load
    from kcnn.search import search

    size = shape(input)
    if smoke:
        data, images = "digits", 200
    served = load(data, input_shape=size, seed=seed).fewer(train=images, validation=images // 3)
    space = default_space(NETWORK, classes=len(served.classes), input_shape=size)
    space = dataclasses.replace(space, training={"learning_rate": Range(3e-4, 1e-2, log=True)})
    print(survey(space))
    found = search(
        space,
        served,
        out=out,
        tuner="bayesian",
        trials=1 if smoke else None,
        seconds=None if smoke else 60 * minutes,
        epochs=1 if smoke else epochs,
        seeds=1 if smoke else seeds,
        seed=seed,
        tell=lambda t: print(f"{t.number:>3} {t.status} {t.score or 0:.2%} {dict(t.values)}", flush=True),
    )
    print(found.final)


if __name__ == "__main__":
    typer.run(main)
