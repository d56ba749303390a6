"""The layers with weights of a complete network, which a file of weights may have."""

import warnings
from contextlib import suppress
from dataclasses import dataclass, replace

from kcnn.architectures.spec import summary
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order


@dataclass(frozen=True)
class NetworkLayers:
    """The layers with weights of a complete network, which a file of it may have.

    Attributes:
        names: All of them, in order; none for a model that kcnn did not build.
        head: Those after the features, with those of auxiliary classifiers.
        main_head: Those of the head that lead to the logits.
        is_head_new: Whether the model has a new head, which a file need not have.
        keeps_classifier: Whether the model's classifier keeps its values although the file has one.
    """

    names: tuple[str, ...] = ()
    head: tuple[str, ...] = ("logits",)
    main_head: tuple[str, ...] = ("logits",)
    is_head_new: bool = False
    keeps_classifier: bool = False

    @property
    def classifiers(self) -> frozenset[str]:
        """Layers of the head whose outputs are the classes."""
        return frozenset(layer for layer in self.head if layer.endswith("logits")) or frozenset(self.head[-1:])


def find_layers(graph: Graph | None, with_head: bool) -> NetworkLayers:
    """The layers with weights of the complete network."""
    if graph is None:
        return NetworkLayers(is_head_new=not with_head, keeps_classifier=not with_head)
    complete = _trace_complete(graph)
    names = list_weighted_layers(complete)
    backbone = {x.name for x in topological_order(complete.features)}
    main = {x.name for x in topological_order(next(iter(complete.outputs.values())))}
    has_other_classes = bool(
        graph.architecture and graph.spec and graph.spec.classes not in (None, graph.architecture.classes)
    )
    return NetworkLayers(
        names=names,
        head=tuple(layer for layer in names if layer not in backbone),
        main_head=tuple(layer for layer in names if layer in main - backbone),
        is_head_new=not with_head or has_other_classes,
        keeps_classifier=not with_head,
    )


def _trace_complete(graph: Graph) -> Graph:
    """The network with its head and, where a map has room, its auxiliary classifiers: all that a file may have.

    A smaller input than the nominal one may have no room for them. Names do not depend on the size.
    """
    assert graph.spec is not None
    assert graph.architecture is not None
    own, nominal = graph.input.shape, (*graph.architecture.input_shape[:2], graph.input.shape[2])
    spec = replace(graph.spec, top=True, pooling=None, outputs=(), prefix="")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for aux in (True, False) if graph.architecture.aux else (False,):
            for shape in (own, nominal):
                with suppress(ValueError):  # the map is too small
                    return replace(spec, aux=aux, input_shape=shape).trace()
    return graph


def list_weighted_layers(graph: Graph) -> tuple[str, ...]:
    """The layers that have weights, in order."""
    return tuple(layer.name for layer in summary(graph) if layer.params or layer.non_trainable_params)
