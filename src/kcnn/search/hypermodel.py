"""A search space as a keras_tuner.HyperModel, for keras-tuner's own tuners and those of kcnn.search.tuners."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kcnn.building import build
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_seed
from kcnn.graph.formatting import format_values
from kcnn.search import hyperparameters
from kcnn.search.keras_tuner_api import keras_tuner
from kcnn.search.space import Candidate, Space
from kcnn.search.space.nearest import find_nearest

LEARNING_RATE = "learning_rate"
DEFAULT_RATE = 1e-3  # of Keras' Adam


@check_arguments
class HyperModel(keras_tuner.HyperModel):
    """Make a search space a hypermodel of keras-tuner; its hyperparameters are the choices, by address.

    It goes into any tuner of keras-tuner, with arguments of `fit` as `tuner.search` takes them. A subclass may override
    `build` and `fit`, and add hyperparameters of its own. Where a tuner proposes a point that cannot be built or
    exceeds the limits of the space, `build` takes the nearest feasible one and says so, so that no trial fails for
    it; the tuners of kcnn.search.tuners propose feasible points only.

    Args:
        space: The space; its ModelSpec has the classes and the input shape of the images.
        compile: Called with (hp, model) to compile the model; a choice of the training is `hp.get(name)`. By default
            Adam, at the learning rate of the space or 0.001, with the cross-entropy of logits and integer labels, and
            accuracy.
        seed: Fixes the initial weights of every model.
        log: Called with a message for a person where `build` changes a point.
        name: The name of the hypermodel.
        tunable: Whether the choices are added to the tuner's search space.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: The space has a choice of the training that the default `compile` does not use.
    """

    def __init__(
        self,
        space: Space,
        *,
        compile: Callable[[Any, Any], None] | None = None,
        seed: int | None = None,
        log: Callable[[str], None] = print,
        name: str | None = None,
        tunable: bool = True,
    ):
        unused = [one for one in space.training if one != LEARNING_RATE]
        if compile is None and unused:
            raise ValueError(
                f"{unused[0]} is a choice of the training, which the default compile does not use; pass "
                f"compile=lambda hp, model: model.compile(...), which may call hp.get({unused[0]!r})"
            )
        self.space, self.seed, self.log = space, None if seed is None else check_seed(seed), log
        self.compile = _compile if compile is None else compile
        self._overridden: dict[str, Space] = {}
        super().__init__(name=name, tunable=tunable)

    def declare_hyperparameters(self, hp: Any) -> None:
        """Register the choices that are not registered yet.

        Args:
            hp: keras-tuner's hyperparameters.
        """
        hyperparameters.register(hp, self.space, self.space.default)

    def build(self, hp: Any) -> Any:
        """Build and compile the network of some hyperparameters, or of the nearest feasible ones.

        Args:
            hp: keras-tuner's hyperparameters.

        Returns:
            The compiled model, whose `spec` tells which network it is.
        """
        self.declare_hyperparameters(hp)
        proposed, candidate = self._decode(hp), self.candidate(hp)
        repairs = _list_repairs(proposed, candidate.values)
        if repairs:
            text = format_values({name: new for name, (_, new) in repairs.items()})
            explanation = self.override_space(hp).check(proposed).explanation
            self.log(f"{self.space.name}: {explanation}; the nearest network has {text}")
        model = build(candidate.graph, seed=self.seed)
        self.compile(hp, model)
        return model

    def candidate(self, hp: Any) -> Candidate:
        """Return the network that `build` builds of some hyperparameters, with its values by address.

        Args:
            hp: keras-tuner's hyperparameters, such as tuner.get_best_hyperparameters()[0].

        Raises:
            NoFeasiblePointError: The space has no feasible point.
        """
        space = self.override_space(hp)
        return space.candidate(find_nearest(space, self._decode(hp)))

    def find_repairs(self, hp: Any) -> dict[str, tuple[Any, Any]]:
        """Return what `build` changes of some hyperparameters: (proposed value, value that is built) by address.

        A choice that is active on one side only has None on the other.

        Args:
            hp: keras-tuner's hyperparameters.
        """
        return _list_repairs(self._decode(hp), self.candidate(hp).values)

    def override_space(self, hp: Any, *, tunes_others: bool = True) -> Space:
        """Return the space with the values that were registered for its choices, where they are others.

        Args:
            hp: keras-tuner's hyperparameters, as passed to a tuner by `hyperparameters=`.
            tunes_others: Whether choices that are not registered keep their values, or have their default only.
        """
        values = hyperparameters.find_overrides(hp, self.space, tunes_others=tunes_others)
        if not values:
            return self.space
        key = json.dumps({name: repr(value) for name, value in values.items()})
        if key not in self._overridden:
            self._overridden[key] = self.space.with_values(values)
        return self._overridden[key]

    def _decode(self, hp: Any) -> dict[str, Any]:
        complete = hp.copy()
        self.declare_hyperparameters(complete)
        return hyperparameters.decode_values(self.override_space(hp), complete.values)


def _list_repairs(proposed: Mapping[str, Any], nearest: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [name for name in {**proposed, **nearest} if proposed.get(name) != nearest.get(name)]
    return {name: (proposed.get(name), nearest.get(name)) for name in names}


def _compile(hp: Any, model: Any) -> None:
    values: Mapping[str, Any] = hp.values
    model.compile(
        optimizer=keras.optimizers.Adam(values.get(LEARNING_RATE, DEFAULT_RATE)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
