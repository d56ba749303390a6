"""The figure of a network: whole, without boxes in each other's way, and the same every time."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kcnn
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Activation, Add, Concat, Conv
from kcnn.graph.tracing import SymbolicTensor, apply, topological_order
from kcnn.plots.network import plot_network
from kcnn.plots.network.boxes import build_boxes
from kcnn.plots.network.labels import describe_layer
from kcnn.plots.network.layout import lay_out
from kcnn.plots.network.regions import Parallel, Tangle, expand_layers, find_regions, group_blocks, list_boxes
from kcnn.plots.network.render import measure_box
from tests.catalogue import divide
from tests.paper.figures import DRAWN, SVG, drawn, layers


def figure(drawing, fold=True):
    """The boxes of a network, and where they are."""
    made = build_boxes(drawing)
    parts = group_blocks(find_regions(made), made)
    if not fold:
        parts, made = expand_layers(parts, made)
    return made, lay_out(parts, made, [measure_box(box, not fold) for box in made.boxes])


def box(root, layer):
    """x, y, width, height of the box that a layer is in."""
    for group in root.iter(f"{SVG}g"):
        if layer in group.get("data-layers", "").split():
            return [float(group.find(f"{SVG}rect").get(side)) for side in ("x", "y", "width", "height")]
    raise AssertionError(layer)


def overlaps(a, b):
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return across > 0.01 and down > 0.01


def through(rect, a, b):
    """Whether a line from a to b goes through the inside of a box."""
    left, right, top, bottom = min(a[0], b[0]), max(a[0], b[0]), min(a[1], b[1]), max(a[1], b[1])
    inside = left < rect.x + rect.width - 0.01 and right > rect.x + 0.01
    return inside and top < rect.y + rect.height - 0.01 and bottom > rect.y + 0.01


def faults(made, placed):
    """What is wrong with where boxes and lines are."""
    rects = sorted(placed.boxes.values(), key=lambda rect: rect.y)
    open_ones = []
    for rect in rects:
        open_ones = [other for other in open_ones if other.y + other.height > rect.y]
        if any(overlaps(rect, other) for other in open_ones):
            yield f"{rect} overlaps another"
        open_ones.append(rect)
        if rect.x < -0.01 or rect.x + rect.width > placed.width + 0.01 or rect.y + rect.height > placed.height + 0.01:
            yield f"{rect} is outside of the figure"
    for (_, a), (_, b) in combinations(placed.frames, 2):
        if overlaps(a, b):
            yield f"{a} and {b} overlap"
    for name, rect in placed.frames:
        inside = [one for one in rects if overlaps(one, rect)]
        if any(one.x < rect.x or one.y < rect.y or one.x + one.width > rect.x + rect.width for one in inside):
            yield f"the frame of {name} cuts a box"
        if any(one.y < rect.y + 16 and one.x < rect.x + 9 + 5 * len(name) for one in inside):
            yield f"the name of {name} is behind a box"
    links = sorted((source, target) for target, sources in enumerate(made.sources) for source in sources)
    if links != sorted((line.source, line.target) for line in placed.lines):
        yield "the lines are not those of the graph"
    for line in placed.lines:
        for a, b in pairwise(line.points):
            if a[0] != b[0] and a[1] != b[1]:
                yield f"{line} is not of horizontal and vertical parts"
            for rect in rects:
                if through(rect, a, b):
                    yield f"{line} goes through {rect}"
        start, end = placed.boxes[line.source], placed.boxes[line.target]
        if line.points[0][1] != start.y + start.height or not start.x <= line.points[0][0] <= start.x + start.width:
            yield f"{line} does not begin at its box"
        x, y = line.points[-1]
        if not (end.x <= x <= end.x + end.width and end.y <= y <= end.y + end.height):
            yield f"{line} does not end at its box"


@pytest.mark.parametrize("names", divide(DRAWN))
def test_plot_network_has_every_layer(names):
    for drawing in map(kcnn.trace, names):
        root = ElementTree.fromstring(plot_network(drawing, layers=True))
        there = [layer for group in root.iter(f"{SVG}g") for layer in group.get("data-layers", "").split()]
        assert sorted(there) == sorted(x.name for x in layers(drawing)), drawing.name
        lines = [(line.get("data-from"), to) for line in drawn(root, "line") for to in line.get("data-to").split()]
        links = [(source.name, x.name) for x in layers(drawing) for source in x.inputs]
        assert sorted(lines) == sorted(links), drawing.name


@pytest.mark.parametrize("names", divide(DRAWN))
def test_plot_network_overlaps_no_boxes_and_lines(names):
    for name in names:
        made, placed = figure(kcnn.trace(name))
        assert not list(faults(made, placed)), name
        # A unit of DPN adds to one path, and appends to the other; a node within a tree of DLA joins nodes above, too;
        # a cell of NASNet takes the outputs of the two before it
        crosses = name.startswith(("dpn", "dla", "nasnet"))
        assert any(isinstance(item, Tangle) for item in find_regions(made)) == crosses, name


@pytest.mark.parametrize(
    ("name", "keywords"), [("googlenet", {"aux": True}), ("resnet18", {"outputs": ["stage2", "stage3", "stage5"]})]
)
def test_plot_network_with_several_outputs(name, keywords):
    made, placed = figure(kcnn.trace(name, **keywords))
    assert not list(faults(made, placed))


def test_plot_network_places_four_inception_branches_side_by_side():
    root = ElementTree.fromstring(plot_network(kcnn.trace("googlenet")))
    ways = [box(root, f"inception_4a_{way}") for way in ("1x1", "3x3", "5x5", "proj")]
    assert len({y for _, y, _, _ in ways}) == 1
    assert all(a[0] + a[2] < b[0] for a, b in pairwise(ways))
    reduce, joined = box(root, "inception_4a_3x3_reduce"), box(root, "inception_4a")
    assert reduce[1] + reduce[3] < ways[1][1]
    assert ways[1][1] + ways[1][3] < joined[1]
    assert joined[0] <= ways[0][0]
    assert ways[3][0] + ways[3][2] <= joined[0] + joined[2]


@pytest.mark.parametrize(("name", "count"), [("resnet18", 5), ("resnet50", 12), ("mobilenet_v2", 10)])
def test_plot_network_routes_shortcuts_around_blocks(name, count):
    made, placed = figure(kcnn.trace(name))
    past = [line for line in placed.lines if line.bypass and made.boxes[line.target].sums]
    assert len(past) == count
    for line in past:
        beside = [placed.boxes[number] for number in range(line.source + 1, line.target)]
        assert beside
        assert all(rect.x + rect.width < line.points[-2][0] for rect in beside)
        assert all(line.points[-4][1] < rect.y < line.points[-1][1] for rect in beside)


def test_plot_network_places_projections_beside_blocks():
    root = ElementTree.fromstring(plot_network(kcnn.trace("resnet18")))
    main, skip = box(root, "stage3_unit1_a"), box(root, "stage3_unit1_skip")
    assert main[0] + main[2] < skip[0]
    assert not {line.get("data-to") for line in drawn(root, "shortcut")} & {"stage3_unit1_add"}


def test_build_boxes_merges_normalization_and_activation():
    made = build_boxes(kcnn.trace("resnet18"))
    folded = [[row.name for row in box.rows] for box in made.boxes]
    assert ["stage1_unit1_a", "stage1_unit1_a_bn", "stage1_unit1_a_relu"] in folded
    assert ["stage1_unit1_add", "stage1_unit1"] in folded
    assert ["c1", "c1_tanh"] in [[row.name for row in box.rows] for box in build_boxes(kcnn.trace("lenet5")).boxes]


def test_group_blocks_names_a_block_by_its_layers():
    for name, some in (
        ("resnet18", {"stem", "stage1_unit1", "stage4_unit2"}),
        ("resnet50_v2", {"stage1_unit2", "stage2_unit1"}),
        ("googlenet", {"conv2", "inception_3a", "inception_5b"}),
        ("mobilenet_v2", {"stage1_unit1", "stage3_unit1", "stage3_unit2"}),
        ("mobilenet_v3_small", {"unit1", "unit5"}),
        ("vgg16", {"conv1", "conv5"}),
    ):
        for fold in (True, False):
            frames = [frame for frame, _ in figure(kcnn.trace(name), fold)[1].frames]
            assert some <= set(frames), name
            assert len(frames) == len(set(frames))


def test_collapse_blocks_makes_one_box_with_costs():
    root = ElementTree.fromstring(plot_network(kcnn.trace("googlenet"), expand="inception_3*"))
    assert [one.get("data-block") for one in drawn(root, "block")] == ["inception_3a", "inception_3b"]
    assert box(root, "inception_4a_1x1") == box(root, "inception_4a_proj") != box(root, "inception_4b")
    hover = [title.text for title in root.iter(f"{SVG}title") if title.text.startswith("inception_4a")]
    rows = [row for row in kcnn.summary("googlenet") if row.name.startswith("inception_4a")]
    assert len(hover) == 1
    assert f"{sum(row.params for row in rows):,} parameters, {sum(row.macs for row in rows):,} MACs" in hover[0]


def test_plot_network_has_hover_texts():
    root = ElementTree.fromstring(plot_network(kcnn.trace("resnet18")))
    said = next(title.text for title in root.iter(f"{SVG}title") if title.text.startswith("stage2_unit1_a:"))
    row = kcnn.summary("resnet18")["stage2_unit1_a"]
    assert said.splitlines()[:3] == [
        "stage2_unit1_a: Conv 128, kernel 3, stride 2, padding half, bias False",
        f"output 28×28×128, {row.params:,} parameters, {row.macs:,} MACs",
        f"receptive field {row.receptive_field[0]}×{row.receptive_field[1]}, stride {row.stride[0]}×{row.stride[1]}",
    ]
    assert "stage2_unit1_a_bn: BatchNorm" in said


def test_describe_layer_repeats_nothing_of_the_layer_before_it():
    rows = kcnn.summary("resnet18")
    conv, norm, relu = rows["stage2_unit1_a"], rows["stage2_unit1_a_bn"], rows["stage2_unit1_a_relu"]
    assert describe_layer(norm, conv).splitlines() == [
        "stage2_unit1_a_bn: BatchNorm",
        "256 parameters and 256 non-trainable",
    ]
    assert describe_layer(relu, norm) == "stage2_unit1_a_relu: Activation relu"
    assert describe_layer(relu).splitlines()[1] == "output 28×28×128, 0 parameters, 0 MACs"


def test_plot_network_has_title_description_and_scales():
    root = ElementTree.fromstring(plot_network(kcnn.trace("vgg16")))
    assert (root.get("role"), root[0].tag, root[1].tag) == ("img", f"{SVG}title", f"{SVG}desc")
    assert "vgg16" in root[0].text
    assert "138,357,544 parameters" in root[1].text
    assert root.get("viewBox").startswith("0 0 ")
    assert "prefers-color-scheme:dark" in root.find(f"{SVG}style").text


def test_plot_network_limits_its_style_to_the_figure():
    style = ElementTree.fromstring(plot_network(kcnn.trace("vgg16"))).find(f"{SVG}style").text
    plain = style.replace("@media (prefers-color-scheme:dark){", "")
    assert all(rule.strip("}\n").startswith(".kcnn-figure") for rule in re.findall(r"[^{}]+(?=\{)", plain))
    assert " id=" not in plot_network(kcnn.trace("vgg16"))


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("color", ["macs", "params"])
def test_plot_network_has_readable_contrast(color):
    style = ElementTree.fromstring(plot_network(kcnn.trace("mlp"), color_by=color)).find(f"{SVG}style").text
    for scheme in re.findall(r"\.kcnn-figure\{(--[^}]*)\}", style):
        value = dict(pair[2:].split(":") for pair in scheme.split(";"))
        pairs = [("ink", "none"), ("ink", "page"), ("faint", "frame"), ("faint", "page")]
        pairs += [("on" if level > 4 else "ink", f"c{level}") for level in range(1, 7)]
        for letters, ground in pairs:
            dark, light = sorted((luminance(value[letters]), luminance(value[ground])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (letters, ground)


def test_plot_network_colors_by_macs_or_params():
    drawing = kcnn.trace("vgg16")

    def level(color, layer):
        root = ElementTree.fromstring(plot_network(drawing, color_by=color))
        return next(g.get("class") for g in root.iter(f"{SVG}g") if layer in g.get("data-layers", "").split())

    assert level("params", "fc6") == "box c6"
    assert level("macs", "conv1_2") == "box c6"
    assert level("macs", "pool1") == "box c0"
    with pytest.raises(ValueError, match="vgg16: unknown color_by 'layers'; choose from macs, params"):
        plot_network(drawing, color_by="layers")


def test_plot_network_is_deterministic():
    assert plot_network(kcnn.trace("inception_v3")) == plot_network(kcnn.trace("inception_v3"))


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_lay_out_uses_at_most_the_requested_columns(columns):
    made = build_boxes(kcnn.trace("resnet50"))
    placed = lay_out(
        group_blocks(find_regions(made), made), made, [measure_box(box, False) for box in made.boxes], columns
    )
    assert not list(faults(made, placed))
    tops = [rect for rect in placed.boxes.values() if rect.y == 0] + [rect for _, rect in placed.frames if rect.y == 0]
    assert len({rect.x for rect in tops}) == columns


@st.composite
def networks(draw):
    """Any graph of convolutions, sums and concatenations."""
    image = SymbolicTensor((8, 8, 4), "image")
    tensors = [image]
    for number in range(draw(st.integers(1, 14))):
        sources = draw(st.lists(st.sampled_from(tensors[-6:]), min_size=1, max_size=3))
        if len(sources) == 1:
            made = apply(draw(st.sampled_from([Conv(4), Activation()])), *sources, name=f"l{number}")
        elif draw(st.booleans()):
            made = apply(Add(), *sources, name=f"l{number}")
        else:
            joined = apply(Concat(), *sources, name=f"l{number}_all")
            made = apply(Conv(4, 1), joined, name=f"l{number}")
        tensors.append(made)
    used = {id(source) for x in tensors for y in topological_order(x) for source in y.inputs}
    ends = {f"end{number}": x for number, x in enumerate(x for x in tensors if id(x) not in used)}
    return Graph(name="any", input=image, outputs=ends, input_shape=image.shape)


@settings(max_examples=60)
@given(networks(), st.booleans())
def test_plot_network_of_any_graph_has_every_line(drawing, fold):
    made, placed = figure(drawing, fold)
    assert not list(faults(made, placed))
    assert sorted(placed.boxes) == list(range(len(made.boxes)))
    ElementTree.fromstring(plot_network(drawing, layers=not fold))


@settings(max_examples=60)
@given(networks())
def test_find_regions_separates_unconnected_branches(drawing):
    made = build_boxes(drawing)

    def check(series):
        for item in series:
            if isinstance(item, Parallel):
                for a, b in combinations([set(list_boxes(branch)) for branch in item.branches], 2):
                    assert not a & b
                    assert not any(set(made.sources[number]) & b for number in a)
                    assert not any(set(made.sources[number]) & a for number in b)
                for branch in item.branches:
                    check(branch)

    check(find_regions(made))
    assert sorted(list_boxes(find_regions(made))) == list(range(len(made.boxes)))


def test_cli_plot_writes_a_complete_file(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("plot", "lenet5")
    assert done.returncode == 0, done.stderr
    assert "lenet5.svg" in done.stdout
    assert (tmp_path / "lenet5.svg").read_text(encoding="utf-8") == plot_network(kcnn.trace("lenet5"))
    assert [path.name for path in tmp_path.iterdir()] == ["lenet5.svg"]


def test_cli_plot_prints_the_figure_of_an_overridden_network_for_a_dash(command):
    words = ("--model-option", "width=0.5", "--input-size", "96x96x1", "--override", "stem.kernel=5")
    words = (*words, "--color-by", "params", "--layers")
    done = command("plot", "mobilenet_v2", *words, "--svg", "-")
    assert done.returncode == 0, done.stderr
    root = ElementTree.fromstring(done.stdout)
    assert "input 96×96×1" in root[1].text
    assert any((title.text or "").startswith("stem: Conv 16, kernel 5") for title in root.iter(f"{SVG}title"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gogglenet"], "Did you mean 'googlenet'"),
        (["vgg11", "--color-by", "layers"], "choose from macs, params"),
        (["vgg11", "--input-size", "16x16"], "smallest input that fits is 32x32"),
        (["vgg11", "--override", "conv9_9.kernel=3"], "no layer matches"),
        (["vgg11", "--svg", "."], "expects a file, got the folder"),
    ],
)
def test_cli_plot_reports_an_invalid_request_in_one_line(command, words, says):
    done = command("plot", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_graph_repr_svg_is_its_figure():
    graph = kcnn.trace("lenet5")
    assert graph._repr_svg_() == plot_network(graph)
    assert ElementTree.fromstring(graph._repr_svg_()).tag == f"{SVG}svg"
