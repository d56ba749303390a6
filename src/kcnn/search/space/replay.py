"""The costs of many points of a space, by replaying recorded traces where their networks have the same layers.

The traces of one set of options form a tree: layers that they share, then what the backbone saw of their shapes (a
guard), and a branch for each outcome. A point that follows a known path to its end needs no call of the backbone; any
other point is traced, and its path is added.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kcnn.architectures.spec import ModelSpec
from kcnn.architectures.tracer import INPUT, Tracer, nominal_shape
from kcnn.graph.graph import Graph
from kcnn.graph.overrides import Override, OverrideSet
from kcnn.graph.recording import Layer, Observation, Recorder
from kcnn.graph.shape_inference import Shape
from kcnn.graph.tracing import infer_shape
from kcnn.search.space.costs import Costs, LayerCosts, estimate_costs, find_needed, measure_layer, total_costs

MAX_LAYERS = 200_000  # that are kept, with their costs for one shape and override each: some 100 MB


class Step:
    """A layer of a path, and its costs by the values of its choices and the shapes of its inputs."""

    __slots__ = ("addresses", "costs", "layer", "names")

    def __init__(self, layer: Layer, names: Sequence[str], addresses: Sequence[str]):
        self.layer = layer
        self.names = names  # of its inputs
        self.addresses = addresses  # of the choices that override it
        self.costs: dict[Any, LayerCosts] = {}


class Branch:
    """Layers that follow each other, and what comes next: a guard with branches, the end, or what is not yet known."""

    __slots__ = ("branches", "guard", "needed", "outcomes", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.guard: Observation | None = None
        self.branches: dict[Any, Branch] = {}  # by the outcome of the guard
        self.outcomes: dict[tuple[Shape, ...], Branch] = {}  # by the shapes that the guard saw
        self.needed: list[int] | None = None  # at the end: numbers of the layers that lead to an output


class Replay:
    """The costs of the points of a space.

    Args:
        spec: The network without any choice.
        addresses: Addresses of the choices.
    """

    def __init__(self, spec: ModelSpec, addresses: Sequence[str]):
        self.spec = spec
        self.shape = nominal_shape(spec.architecture, spec.input_shape)
        self.overrides = [Override(address, None) for address in addresses]
        self.can_replay = spec.architecture.backbone is not None  # and no trace showed that it decides by anything else
        self._roots: dict[str, Branch] = {}  # by options
        self.kept_layers = 0

    def estimate_costs(self, values: Mapping[str, Any]) -> tuple[str, Costs]:
        """Return the identity and the costs of a point, as `estimate_costs` does of its graph.

        Args:
            values: Values of the active choices of the network, by name.

        Raises:
            ValueError, TypeError, AttributeError: As the trace of the point does.
        """
        if not self.can_replay:
            return estimate_costs(self._trace(values))
        if self.kept_layers > MAX_LAYERS:
            self._roots.clear()
            self.kept_layers = 0
        options = repr({name: value for name, value in values.items() if "." not in name})
        root = self._roots.setdefault(options, Branch())
        try:
            layers = self._follow(root, values)
        except Exception:  # of a layer, or of what decides by shapes: the trace has the words for it
            return estimate_costs(self._trace(values))
        if layers is None:
            self._record(root, values)
            layers = self._follow(root, values) if self.can_replay else None
        return total_costs(layers) if layers else estimate_costs(self._trace(values))

    def _trace(self, values: Mapping[str, Any], recorder: Recorder | None = None) -> Graph:
        return Tracer(self.spec.with_overrides(values), strict=False).at_own_size(recorder)

    def _record(self, root: Branch, values: Mapping[str, Any]) -> None:
        """Trace a point, and add its path."""
        recorder = Recorder()
        graph = self._trace(values, recorder)
        needed = [recorder.find_number(x) for x in find_needed(graph)]
        self.can_replay = recorder.is_complete and self._add_path(root, recorder.events, needed)

    def _follow(self, branch: Branch | None, values: Mapping[str, Any]) -> list[LayerCosts] | None:
        """The layers of a point that lead to its outputs; None where its path is not known."""
        texts = {name: repr(value) for name, value in values.items()}  # 3 and 3.0 are two values
        overrides: OverrideSet | None = None
        shapes: list[Shape] = [self.shape]
        found: list[Any] = [None]  # by number, as the shapes
        while branch:
            for step in branch.steps:
                sources = step.layer.sources
                key: Any = shapes[sources[0]] if len(sources) == 1 else tuple([shapes[source] for source in sources])
                if step.addresses:
                    key = key, *[texts.get(address) for address in step.addresses]
                costs = step.costs.get(key)
                if costs is None:
                    overrides = overrides or self._list_overrides(values)
                    costs = step.costs[key] = _measure(step, overrides, [shapes[source] for source in sources])
                    self.kept_layers += 1
                shapes.append(costs.shape)
                found.append(costs)
            if branch.needed is not None:
                return [found[number] for number in branch.needed]
            branch = _choose_branch(branch, shapes)
        return None

    def _list_overrides(self, values: Mapping[str, Any]) -> OverrideSet:
        spec = self.spec.with_overrides(values)
        return OverrideSet([*spec.architecture.overrides.items(), *spec.overrides.items()])

    def _add_path(self, branch: Branch, events: Sequence[Layer | Observation], needed: list[int]) -> bool:
        """Add a path, and return whether it agrees with those before."""
        names, position = [INPUT], 0  # of the tensors; among the layers of the branch
        for event in events:
            if isinstance(event, Observation):
                branch.guard = branch.guard or event
                if position < len(branch.steps) or branch.guard.sources != event.sources or branch.needed:
                    return False
                branch, position = branch.branches.setdefault(event.outcome, Branch()), 0
                continue
            if position == len(branch.steps):
                if branch.guard or branch.needed:
                    return False
                branch.steps.append(self._create_step(event, names))
            if branch.steps[position].layer != event:
                return False
            names.append(event.name)
            position += 1
        is_end = position == len(branch.steps) and branch.guard is None and branch.needed in (None, needed)
        branch.needed = needed
        return is_end

    def _create_step(self, layer: Layer, names: Sequence[str]) -> Step:
        self.kept_layers += 1
        fields = getattr(layer.op, "__dataclass_fields__", ())
        own = [o.address for o in self.overrides if o.attribute in fields and o.matches(layer.name)]
        return Step(layer, [names[source] for source in layer.sources], own)


def _choose_branch(branch: Branch, shapes: Sequence[Shape]) -> Branch | None:
    """The branch that the backbone takes; None where it is not known."""
    if branch.guard is None:
        return None
    seen = tuple([shapes[source] for source in branch.guard.sources])
    if seen not in branch.outcomes:
        outcome = branch.guard.function(*seen)
        if outcome not in branch.branches:
            return None
        branch.outcomes[seen] = branch.branches[outcome]
    return branch.outcomes[seen]


def _measure(step: Step, overrides: OverrideSet, shapes: Sequence[Shape]) -> LayerCosts:
    """The costs of a layer of a point. Raises ValueError where it does not take these inputs."""
    name, given, _ = step.layer
    op = overrides.override(given, name)
    shape = infer_shape(op, shapes, name, op is not given)
    return measure_layer(op, shapes, shape, name, step.names)
