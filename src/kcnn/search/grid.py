"""keras-tuner's grid search without the points that are infeasible, or whose network a trial had."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from kcnn.search.keras_tuner_api import TrialStatus


class NewPointsGrid(ABC):
    """In front of keras-tuner's grid search: points that are not new are left out."""

    @abstractmethod
    def is_new(self, values: Mapping[str, Any]) -> bool:
        """Return whether a point is feasible, and no trial had its network."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial."""
        proposal = super().populate_space(trial_id)  # type: ignore[misc]
        if proposal["status"] == TrialStatus.RUNNING and not self.is_new(proposal["values"]):
            # the first point, which keras-tuner proposes unchecked
            values = self._get_next_combination(proposal["values"])
            return {"status": TrialStatus.RUNNING if values else TrialStatus.STOPPED, "values": values}
        return proposal

    def _get_next_combination(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        following = super()._get_next_combination(values)  # type: ignore[misc]
        while following is not None and not self.is_new(following):
            following = super()._get_next_combination(following)  # type: ignore[misc]
        return following
