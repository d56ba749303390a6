"""What do layers see? Fields on the picture, filters, maps, and the patches that excite a channel most, by depth.

    python recipes/what_layers_see.py                                         # 5 seeds; pictures and numbers in runs/
    python recipes/what_layers_see.py --data photos/ --input 32x32x3          # a folder of one folder per class

Four 3x3 convolutions, each with batch norm and a pool ("stack"), trained on scikit-learn's digits at 32x32 pixels to
99.28 % of 359 test pictures (98.61 to 99.72 over seeds 0 to 4), against the same networks untrained. Measured on 2 CPU
cores, which did other work as well, in 2 min 30 s (65 s of CPU time), as means and 95 % intervals over seeds. Purity
is how many of the 9 test pictures that excite a channel most are of one class, the mean over a layer's channels; of 9
pictures drawn at random it is 28.13 %:

           field  trained                    untrained                  trained against untrained, paired
    conv1    3x3  44.44 % (39.13 to 49.76)   43.06 % (38.37 to 47.74)   +1.4 points (+0.5 to +2.3)
    conv2    8x8  44.31 % (40.52 to 48.10)   44.76 % (38.89 to 50.64)   -0.5 points (-8.0 to +7.1): not shown
    conv3  18x18  55.31 % (54.20 to 56.43)   48.62 % (46.21 to 51.02)   +6.7 points (+4.7 to +8.7)
    conv4  38x38  70.56 % (68.87 to 72.24)   50.71 % (49.40 to 52.01)   +19.8 points (+18.1 to +21.6)

So the way from edges to digits is in part the field's: an untrained network goes 7.7 points (3.3 to 12.0) of it, a
trained one 26.1 (20.3 to 31.9). What training adds it adds late; 1.4 points in conv1 may be by chance, of eight
comparisons. The field measured by gradients is that of arithmetic in every layer, but not all of it counts alike: 95 %
of the gradient of the middle lies in 81.77 % of conv4's field (79.90 to 83.64; untrained 84.06, 81.84 to 86.28; the
difference is not shown), in 84.44 % of conv3's and 88.75 % of conv2's. Positions at the edge, whose field reaches
beyond the picture, are left out where a layer has others: the padding excites many channels most.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import kcnn
from kcnn.cli import script
from kcnn.cli.backend import start_backend
from kcnn.cli.options import parse_input_size
from kcnn.statistics import t_interval
from kcnn.training import Recipe

NETWORK = "stack"
OPTIONS: dict[str, Any] = {"depth": 4}  # four times 3x3, batch norm, ReLU, pool; then a global average
LAYERS = tuple(f"conv{number}_relu" for number in range(1, 5))
RECIPE = Recipe(epochs=15, learning_rate=2e-3)
TOP = 9  # pictures that excite a channel most
CARRIED = 0.95  # of the gradient
CHANNELS = 6  # of a layer, whose patches are drawn
LOOKED_AT = 256  # pictures over which gradients are averaged
LINES, OUTSIDE = (70, 130, 180), (176, 196, 222)  # colours between patches, and around the picture


def served(source: str, input_shape: tuple[int, int, int], seed: int) -> Any:
    """The data; digits with a black margin, as MNIST's, so that strokes do not end at an edge."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    from kcnn.data import load

    wanted: Any = source
    if source == "digits":
        found = load_digits()
        black = np.pad(found.images * (255 / 16), ((0, 0), (1, 1), (1, 1)))
        large = zoom(black, (1, 3, 3), order=1).round().astype("uint8")
        wanted = (np.pad(large, ((0, 0), (1, 1), (1, 1)))[..., None], found.target)
    return load(wanted, input_shape=input_shape, seed=seed)


def excited(model: Any, batches: Any) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    """By layer how much each picture excites each channel, and where most, (pictures, channels); pictures, labels.

    Places are numbers of positions, row by row.
    """
    from kcnn.explain import activations

    rows = kcnn.summary(kcnn.from_keras(model))
    places = {layer: inside(rows[layer], rows[0].shape) for layer in LAYERS}
    found: dict[str, list[Any]] = {layer: [] for layer in LAYERS}
    pictures, classes = [], []
    for images, labels in batches:
        pictures.append(np.asarray(images))
        classes.append(np.asarray(labels))
        for layer, maps in activations(model, pictures[-1], "conv?_relu").items():
            flat = maps.reshape(len(maps), -1, maps.shape[-1])[:, places[layer]]
            found[layer].append((flat.max(axis=1), places[layer][flat.argmax(axis=1)]))
    joined = {
        layer: (np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts]))
        for layer, parts in found.items()
    }
    return joined, np.concatenate(pictures), np.concatenate(classes)


def inside(row: Any, picture: tuple[int, ...]) -> np.ndarray:
    """Positions of a layer whose fields lie within the picture; all where there are none.

    At the edge the padding excites many channels most, and by the same for every picture.
    """
    firsts = [row.offset[axis] + row.stride[axis] * np.arange(row.shape[axis]) for axis in (0, 1)]
    down, across = ((one >= 0) & (one + row.receptive_field[n] <= picture[n]) for n, one in enumerate(firsts))
    found = np.flatnonzero(down[:, None] & across)
    return found if len(found) else np.arange(down.size * across.size)


def tops(strengths: np.ndarray) -> dict[int, np.ndarray]:
    """The pictures that excite a channel most, strongest first, of each that so many excite at all."""
    order = np.argsort(-strengths, axis=0, kind="stable")[:TOP]
    return {n: order[:, n] for n in range(strengths.shape[1]) if strengths[order[-1, n], n] > 0}


def purity(chosen: dict[int, np.ndarray], labels: np.ndarray) -> float:
    """The share of a channel's top pictures that are of the class most frequent among them: the mean over channels."""
    return float(np.mean([np.bincount(labels[one]).max() / TOP for one in chosen.values()]))


def by_chance(labels: np.ndarray, seed: int) -> float:
    """The purity of pictures drawn at random."""
    rng = np.random.default_rng(seed)
    return purity({n: rng.choice(len(labels), TOP, replace=False) for n in range(2000)}, labels)


def gradient_of(model: Any, layer: str, images: np.ndarray, seed: int) -> np.ndarray:
    """How much the middle of a layer hangs on each pixel, (rows, columns): its gradient's size, mean of pictures.

    That of the sum over channels, each with a random sign for each picture, by the weights as they are.
    """
    from keras import ops

    from kcnn.explain import model_access
    from kcnn.explain.gradients import compute_gradient
    from kcnn.keras_bridge.keras_graph import replay

    tensor, image = model_access.find_layer(model, layer), model_access.find_image_input(model)
    rows, columns, channels = tensor.shape[1:]
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (len(images), channels)).astype("float32")

    def middle(given: list[Any]) -> tuple[Any, tuple[()]]:
        (found,) = replay([tensor], [(image, given[0])])
        return ops.sum(found[:, rows // 2, columns // 2] * signs), ()

    (slope,), _ = compute_gradient(middle, [ops.convert_to_tensor(images)])
    return np.abs(ops.convert_to_numpy(slope)).sum(axis=-1).mean(axis=0)


def carrying(slope: np.ndarray) -> np.ndarray:
    """The fewest pixels that carry 95 % of the gradient, as a mask."""
    order = np.argsort(-slope, axis=None)
    carried = np.cumsum(slope.flat[order])
    mask = np.zeros(slope.size, bool)
    mask[order[: np.searchsorted(carried, CARRIED * carried[-1]) + 1]] = True
    return mask.reshape(slope.shape)


def size(field: Any) -> int:
    """Pixels of a field within the picture, as arithmetic knows it."""
    (top, bottom), (left, right) = field.theory_rows, field.theory_columns
    return (bottom - top) * (right - left)


def crop(picture: np.ndarray, row: Any, place: int) -> np.ndarray:
    """What a position of a layer sees of a picture, in RGB."""
    (height, width), at = row.receptive_field, divmod(place, row.shape[1])
    rows, columns = picture.shape[:2]
    around = np.full((rows + 2 * height, columns + 2 * width, 3), OUTSIDE, "uint8")
    around[height:-height, width:-width] = picture
    top, left = (row.offset[axis] + at[axis] * row.stride[axis] + row.receptive_field[axis] for axis in (0, 1))
    return around[top : top + height, left : left + width]


def fields_drawn(picture: np.ndarray, slopes: dict[str, dict[str, np.ndarray]], fields: dict[str, Any]) -> Figure:
    """Layers from left to right: where the gradient of one position lies, and the field around it."""
    from kcnn.plots.figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.5 * len(fields), 5.8), layout="constrained")
        figure.suptitle("What one position sees: its receptive field (box), and where its gradient lies (colour)")
        for row, (name, of_layer) in zip(figure.subplots(2, len(fields)), slopes.items(), strict=True):
            for axes, (layer, field) in zip(row, fields.items(), strict=True):
                slope = of_layer[layer] / of_layer[layer].max()
                axes.imshow(picture.astype("uint8").squeeze(), cmap="gray", vmin=0, vmax=255)
                axes.imshow(slope, cmap="autumn", alpha=slope**0.5, vmin=0, vmax=1)
                (top, bottom), (left, right) = field.theory_rows, field.theory_columns
                box = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color="deepskyblue")
                axes.add_patch(box)
                box.set(linewidth=2, clip_on=False)
                share = carrying(of_layer[layer]).sum() / size(field)
                rows, columns = field.size
                axes.set_title(f"{named(layer)}, {name}\n{rows}x{columns}, 95% in {share:.0%} of it", fontsize=9)
                axes.set_axis_off()
    return figure


def patches_drawn(panels: dict[str, list[tuple[list[np.ndarray], str]]]) -> Figure:
    """A row for each layer, low to high: of the first channels the patches that excite them most, three to a row."""
    from kcnn.plots.figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.65 * CHANNELS, 2.2 * len(panels)), layout="constrained")
        for part, (title, channels) in zip(figure.subfigures(len(panels), 1), panels.items(), strict=True):
            part.suptitle(title, x=0.01, ha="left")
            every = part.subplots(1, CHANNELS)
            for axes in every:
                axes.set_axis_off()
            for axes, (patches, text) in zip(every, channels, strict=False):
                axes.imshow(mosaic(patches))
                axes.set_title(text, fontsize=8)
    return figure


def mosaic(patches: list[np.ndarray]) -> np.ndarray:
    """Nine patches in RGB, three to a row, each pixel as 4x4, with lines between."""
    size = 4 * len(patches[0])
    step = size + max(1, size // 16)
    found = np.full((2 * step + size, 2 * step + size, 3), LINES, "uint8")
    for number, patch in enumerate(patches):
        top, left = (step * n for n in divmod(number, 3))
        found[top : top + size, left : left + size] = np.kron(patch, np.ones((4, 4, 1), "uint8"))
    return found


def levels_drawn(purities: dict[str, np.ndarray], chance: float, shares: dict[str, np.ndarray], fields: Any) -> Figure:
    """By depth: how much of one class the top pictures are, and how much of its field a position uses."""
    from kcnn.plots.figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, found in ((left, purities), (right, shares)):
            for name, values in found.items():
                low, high = np.transpose([t_interval(column) for column in values.T])
                (line,) = axes.plot(range(len(LAYERS)), values.mean(axis=0), "o-", label=name)
                axes.fill_between(range(len(LAYERS)), low, high, color=line.get_color(), alpha=0.2, linewidth=0)
            names = [f"{named(layer)}\n{fields[layer].size[0]}x{fields[layer].size[1]}" for layer in LAYERS]
            axes.set_xticks(range(len(LAYERS)), names)
            axes.set(ylim=(0, 1.02), xlabel="layer, and its receptive field in pixels")
            axes.yaxis.set_major_formatter("{x:.0%}")
        left.axhline(chance, color="black", linestyle=":", linewidth=1, label="by chance")
        right.axhline(CARRIED, color="black", linestyle=":", linewidth=1, label="if all pixels counted alike")
        left.set_title(f"share of a channel's top {TOP} pictures that are of one class")
        right.set_title("share of the field that carries 95% of the gradient")
        for axes in (left, right):
            axes.legend(frameon=False)
    return figure


def named(layer: str) -> str:
    return layer.removesuffix("_relu")


def most_frequent(classes: tuple[str, ...], labels: np.ndarray) -> str:
    """How many are of the class most frequent among them."""
    counts = np.bincount(labels)
    return f"{counts.max()} of {len(labels)} are {classes[counts.argmax()]!r}"


def mean(values: Any) -> str:
    low, high = t_interval(values)
    return f"{np.mean(values):.2%} ({low:.2%} to {high:.2%})"


def against(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Points more, paired over seeds, with a word where the interval holds 0."""
    points = 100 * (ours - theirs)
    low, high = t_interval(points)
    return f"{points.mean():+.1f} points ({low:+.1f} to {high:+.1f}){'' if low > 0 or high < 0 else ': not shown'}"


def by_layer(found: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Of each layer what every seed came to, by network."""
    return {
        named(layer): {name: values[:, n].tolist() for name, values in found.items()} for n, layer in enumerate(LAYERS)
    }


@dataclass(frozen=True, eq=False)
class Inside:
    """What was found inside a network, by layer."""

    top: dict[str, dict[int, np.ndarray]]  # by channel the pictures that excite it most
    places: dict[str, np.ndarray]  # where, (pictures, channels)
    slopes: dict[str, np.ndarray]  # of the middle position, (rows, columns) of the picture
    fields: dict[str, Any]  # kcnn.explain.Field of the middle position
    pictures: np.ndarray  # of the test split
    labels: np.ndarray

    @property
    def purities(self) -> list[float]:
        return [purity(self.top[layer], self.labels) for layer in LAYERS]

    @property
    def shares(self) -> list[float]:
        return [carrying(self.slopes[layer]).sum() / size(self.fields[layer]) for layer in LAYERS]


def looked_into(model: Any, test: Any, seed: int) -> Inside:
    from kcnn.explain import measure_receptive_field

    exciting, pictures, labels = excited(model, test)
    return Inside(
        {layer: tops(strengths) for layer, (strengths, _) in exciting.items()},
        {layer: places for layer, (_, places) in exciting.items()},
        {layer: gradient_of(model, layer, pictures[:LOOKED_AT], seed) for layer in LAYERS},
        {layer: measure_receptive_field(model, layer) for layer in LAYERS},
        pictures,
        labels,
    )


def draw_all(models: dict[str, Any], seen: dict[str, Inside], classes: tuple[str, ...], out: Path) -> None:
    """filters.png, maps.png, fields.png and patches.png."""
    from kcnn.explain import activations, filters, plots
    from kcnn.plots.figures import save_figure

    model, one = models["trained"], seen["trained"]
    save_figure(plots.plot_filters(filters(model), "conv1"), out / "filters.png")
    save_figure(plots.plot_activations(activations(model, one.pictures[:1], "conv?_relu")), out / "maps.png")
    save_figure(
        fields_drawn(one.pictures[0], {name: of.slopes for name, of in seen.items()}, one.fields), out / "fields.png"
    )
    rows, panels = kcnn.summary(kcnn.from_keras(model)), {}
    for layer in LAYERS:
        row, places = rows[layer], one.places[layer]
        size = "x".join(map(str, row.receptive_field))
        said = f"{named(layer)}, patches of {size} pixels: {CHANNELS} of {row.shape[2]} channels"
        panels[said] = [
            ([crop(one.pictures[n], row, places[n, channel]) for n in top], most_frequent(classes, one.labels[top]))
            for channel, top in list(one.top[layer].items())[:CHANNELS]
        ]
    save_figure(patches_drawn(panels), out / "patches.png")


def main(
    out: Annotated[Path, typer.Option(help="Folder of runs, numbers and pictures.")] = Path("runs/what-layers-see"),
    data: Annotated[str, typer.Option(help='"digits", "tfds:NAME", or a folder of class folders.')] = "digits",
    input: Annotated[str, typer.Option(help="ROWSxCOLUMNSxCHANNELS; for colour 32x32x3.")] = "32x32x1",
    images: Annotated[int, typer.Option(help="At most, to learn from.")] = 10_000,
    seeds: Annotated[int, typer.Option(min=2, help="How many; each has its own split and initial weights.")] = 5,
    epochs: Annotated[int | None, typer.Option(help="Of each training; 15.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: two seeds, one epoch.")] = False,
) -> None:
    start_backend()
    import keras

    from kcnn import ModelSpec
    from kcnn.atomic_io import write_text
    from kcnn.plots.figures import save_figure
    from kcnn.reports import write_experiment_report
    from kcnn.training import TrainConfig, train

    seeds, epochs = (2, 1) if smoke else (seeds, epochs)
    accuracy, chances, every = [], [], []
    for seed in range(seeds):
        found = served(data, parse_input_size(input, NETWORK), seed).subset(train=images)
        if len(found.splits["test"]) < TOP:
            raise typer.BadParameter(
                f"{data} has {len(found.splits['test'])} test pictures, and a channel's top are {TOP}"
            )
        folder, classes = out / f"seed-{seed}", len(found.classes)
        run = train(
            ModelSpec(network=NETWORK, options=OPTIONS),
            found,
            TrainConfig(recipe=RECIPE, seed=seed),
            out=folder,
            epochs=epochs,
        )
        models = {
            "trained": kcnn.load_model(folder / "model.keras"),
            "untrained": kcnn.build(NETWORK, seed=seed, classes=classes, input_shape=found.input_shape, **OPTIONS),
        }
        seen = {name: looked_into(model, found.test, seed) for name, model in models.items()}
        if not seed:
            draw_all(models, seen, found.classes, out)
        accuracy.append(run.metrics["accuracy"])
        chances.append(by_chance(seen["trained"].labels, seed))
        every.append({name: (one.purities, one.shares) for name, one in seen.items()})
        said = " ".join(f"{one:.0%}" for one in seen["trained"].purities)
        print(seed, f"test accuracy {accuracy[-1]:.2%}, purity by depth {said}", flush=True)
        keras.backend.clear_session()
    fields, names = seen["trained"].fields, ("trained", "untrained")
    purities, shares = ({name: np.array([one[name][n] for one in every]) for name in names} for n in (0, 1))
    print(f"\ntest accuracy {mean(accuracy)}; purity by chance {np.mean(chances):.2%}; mean and 95 % interval")
    for words, table in (("purity of the top pictures", purities), ("share of the field", shares)):
        print(f"\n{words}\n{'':<8}{'field':>6}  {names[0]:<30}{names[1]:<30}{names[0]} against {names[1]}")
        for n, layer in enumerate(LAYERS):
            field = "x".join(map(str, fields[layer].size))
            both = "".join(f"{mean(values[:, n]):<30}" for values in table.values())
            print(f"{named(layer):<8}{field:>6}  {both}{against(table['trained'][:, n], table['untrained'][:, n])}")
        for name, values in table.items():
            print(f"{name}, {named(LAYERS[-1])} against {named(LAYERS[0])}: {against(values[:, -1], values[:, 0])}")
    agree = [named(layer) for layer, field in fields.items() if field.agrees]
    print(f"\nthe measured field is that of arithmetic in {', '.join(agree)}")
    told = {
        "fields": {layer: field.size for layer, field in fields.items()},
        "accuracy": accuracy,
        "purity": by_layer(purities),
        "purity_by_chance": chances,
        "share_of_field": by_layer(shares),
    }
    write_text(out / "layers.json", json.dumps(told, indent=1))
    save_figure(levels_drawn(purities, float(np.mean(chances)), shares, fields), out / "levels.png")
    print(f"to look at: {write_experiment_report(out, __doc__)}")


if __name__ == "__main__":
    script(main)
