"""Which layers of a network train: the head, stages by their stride, or layers by globs. No Keras here."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from kcnn.architectures.spec import summary
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown_layer
from kcnn.graph.tracing import topological_order
from kcnn.training.phases import TrainingPhase

HEAD = "head"


def find_stages(graph: Graph, backbone_output: str = "") -> dict[str, int | None]:
    """Return the stage of each layer, by name and in order.

    Args:
        graph: The network.
        backbone_output: Name of the layer in which the backbone ends; by default the graph's own.

    Returns:
        Stage k has output stride 2**k; None is the head, all layers behind the output of the backbone.
    """
    output = graph.input.context.layers.get(backbone_output, graph.features)
    backbone = {tensor.name for tensor in topological_order(output)}
    return {row.name: row.stage if row.name in backbone else None for row in summary(graph)}


def check_phase(graph: Graph, phase: TrainingPhase) -> None:
    """Refuse a phase whose layers a network does not have, before it is built.

    Args:
        graph: The network.
        phase: The phase.

    Raises:
        UnknownNameError: No layer matches a glob of `trainable` or of `lr_multipliers`.
        ValueError: There are fewer stages.
    """
    weighted = {row.name for row in summary(graph) if row.params or row.non_trainable_params}
    stages = {name: stage for name, stage in find_stages(graph).items() if name in weighted}
    select_layers(stages, phase.trainable)
    for glob in phase.lr_multipliers:
        match_layers(stages, glob)


def select_layers(stages: Mapping[str, int | None], trainable: str | int | Sequence[str]) -> set[str]:
    """Return the layers that train.

    Args:
        stages: The stage of each layer with weights; None for the head.
        trainable: "all", a number of stages (the last ones and the head), or globs of layers.

    Raises:
        UnknownNameError: No layer matches a glob.
        ValueError: There are fewer stages.
    """
    if trainable == "all":
        return set(stages)
    if isinstance(trainable, int):
        numbers = _stage_numbers(stages)
        if not 0 <= trainable <= len(numbers):
            raise ValueError(
                f"cannot train {trainable} stages: {len(numbers)} have weights ({', '.join(_stage_names(stages))})"
            )
        last = set(numbers[len(numbers) - trainable :])
        return {name for name, stage in stages.items() if stage is None or stage in last}
    globs = [trainable] if isinstance(trainable, str) else trainable
    return {name for glob in globs for name in match_layers(stages, glob)}


def match_layers(stages: Mapping[str, int | None], glob: str) -> list[str]:
    """Return the layers that a glob, "head" or a stage ("stage3") matches.

    Args:
        stages: The stage of each layer with weights; None for the head.
        glob: The glob.

    Raises:
        UnknownNameError: No layer matches.
    """
    names = [name for name in stages if fnmatchcase(name, glob)]
    if not names and glob == HEAD:
        names = [name for name, stage in stages.items() if stage is None]
    if not names and glob.startswith("stage") and glob[5:].isdigit():
        names = [name for name, stage in stages.items() if stage == int(glob[5:])]
    if not names:
        raise unknown_layer(glob, [HEAD, *_stage_names(stages), *stages])
    return names


def _stage_numbers(stages: Mapping[str, int | None]) -> list[int]:
    return sorted({stage for stage in stages.values() if stage is not None})


def _stage_names(stages: Mapping[str, int | None]) -> list[str]:
    return [f"stage{number}" for number in _stage_numbers(stages)]
