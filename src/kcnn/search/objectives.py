"""What a search maximizes or minimizes: measures of validation and costs, their names and text. No Keras here."""

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kcnn.graph.arguments import check_keywords, wrong_kind
from kcnn.graph.names import unknown

if TYPE_CHECKING:
    import numpy as np

    from kcnn.data import ImageDataset
    from kcnn.training.result import TrainResult

    Measure = Callable[[np.ndarray, np.ndarray], float]

AUTO = "auto"
ACCURACY, BALANCED, MACRO_F1, PRECISION, LOSS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "average_precision",
    "loss",
)
OBJECTIVES = (AUTO, ACCURACY, BALANCED, MACRO_F1, PRECISION, LOSS)
MACS, PARAMS, LATENCY = "-macs", "-params", "-latency"  # the minus: the lower the better
COSTS = (MACS, PARAMS, LATENCY)
KEYS = {LATENCY: "latency_ms"}  # in the journal, where it is not the name without the minus
TITLES = {  # where it is not the name with spaces
    MACRO_F1: "macro F1",
    MACS: "MACs",
    PARAMS: "parameters",
    LATENCY: "latency (batch 1)",
}
MAX_RATIO = 2  # of the training images of two classes; above, classes are imbalanced
COLUMNS = {LOSS: "val_cross_entropy"}  # of the history; without the label smoothing and class weights of the recipe
OWN_COLUMN = "val_objective"  # of a function


@check_keywords
@dataclass(frozen=True)
class Objective:
    """Say what the score of a trial measures. A score is the higher the better: that of a loss or cost is its negative.

    Args:
        name: One of OBJECTIVES but "auto", or of COSTS; a function's module and name, joined by a dot.
        function: Of (labels, probabilities); None for a measure of kcnn, and where a search is read from its folder.
        reason: Why it was chosen; "" where the caller chose it.
    """

    name: str = ACCURACY
    function: "Measure | None" = None
    reason: str = ""

    @property
    def title(self) -> str:
        """What is measured, such as "balanced accuracy"; a function's own name."""
        return TITLES.get(self.name, self.name.rpartition(".")[2].replace("_", " "))

    @property
    def key(self) -> str:
        """The name of its value in the journal and tables, such as "accuracy", "macs" or "latency_ms"."""
        return KEYS.get(self.name, self.name.removeprefix("-"))

    @property
    def column(self) -> str:
        """The column of the history; a cost has none."""
        return COLUMNS.get(self.name, f"val_{self.name}" if self.name in OBJECTIVES else OWN_COLUMN)

    @property
    def is_fraction(self) -> bool:
        """Whether it is from 0 to 1, and shown in percent."""
        return self.name in OBJECTIVES and self.name != LOSS

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost of the network, which no image decides."""
        return self.name in COSTS

    @property
    def is_minimized(self) -> bool:
        """Whether the lower is the better."""
        return self.name == LOSS or self.is_cost

    def __str__(self) -> str:
        return self.title if self.is_cost else f"validation {self.title}"

    def read_score(self, row: Mapping[str, float]) -> float:
        """Return the score of an epoch.

        Args:
            row: A row of the history.
        """
        return self.to_value(row[self.column])

    def to_value(self, score: float) -> float:
        """Return the measured value of a score, or the score of a value: the same, or its negative if minimized."""
        return 0.0 - score if self.is_minimized else score

    def format_score(self, score: float, digits: int = 2) -> str:
        """Return a score as text, such as "93.10%" or where it is no fraction, "0.4213".

        Args:
            score: The score.
            digits: After the decimal point, of percentages.
        """
        return self.format_value(self.to_value(score), digits)

    def format_value(self, value: float, digits: int = 2) -> str:
        """Return a measured value as text.

        Args:
            value: The value; that of a loss or cost is not negative.
            digits: After the decimal point, of percentages.
        """
        if self.name in (MACS, PARAMS):
            return f"{value:,.0f}"
        if self.name == LATENCY:
            return f"{value:.3g} ms"
        return f"{value:.{digits}%}" if self.is_fraction else f"{value:#.{digits + 2}g}"

    def format_difference(self, value: float) -> str:
        """Return a difference of two values in percentage points, or where it is no fraction in its own unit.

        Args:
            value: In percentage points, or in its own unit.
        """
        return f"{value:+.2f}" if self.is_fraction else f"{value:+#.3g}"


def check_objectives(
    objective: "str | Measure | Sequence[str | Measure]",
) -> "str | Measure | tuple[str | Measure, ...]":
    """Return what a caller gave as objectives: one alone, or several as a tuple.

    Args:
        objective: One of OBJECTIVES or a function; or a sequence of these and of COSTS.

    Raises:
        UnknownNameError: There is no such objective.
        ValueError: The first is a cost, one comes twice, or several are functions.
    """
    several = tuple(objective) if isinstance(objective, list | tuple) else (objective,)
    if not several:
        raise ValueError(f"objective must name at least one measure, got none; choose from {', '.join(OBJECTIVES)}")
    for number, one in enumerate(several):
        if callable(one):
            continue
        if not isinstance(one, str):
            raise wrong_kind("objective", "text, a function, or a sequence of these", one)
        if f"-{one}" in COSTS:
            raise ValueError(f"{one} is a cost, and the lower the better: write -{one}")
        known = (*OBJECTIVES, *COSTS) if number == 0 else (*OBJECTIVES[1:], *COSTS)
        if one not in known:
            raise unknown("objective", one, known)
    if isinstance(several[0], str) and several[0] in COSTS:
        raise ValueError(
            f"the first objective must be a measure of validation, by which trials are ranked, got {several[0]}; put "
            f"one of {', '.join(OBJECTIVES)} before it"
        )
    if sum(map(callable, several)) > 1:
        raise ValueError("one objective can be a function, got several")
    names = [name_objective(one) for one in several]
    if len(set(names)) < len(names):
        raise ValueError(f"each objective may be given once, got {', '.join(names)}")
    return several if len(several) > 1 else several[0]


def resolve_objectives(objectives: "Sequence[str | Measure]", data: "ImageDataset") -> tuple[Objective, ...]:
    """Return the objectives of a search on some data, the first of which may be "auto"; as `resolve_objective`.

    Args:
        objectives: The objectives.
        data: The data.

    Raises:
        ValueError: The data has no such measure, a function does not return a number, or "auto" is another of them.
    """
    resolved = tuple(resolve_objective(one, data) for one in objectives)
    if resolved[0].name in [one.name for one in resolved[1:]]:
        raise ValueError(f"the first objective is {resolved[0].name} here ({resolved[0].reason}): remove the second")
    return resolved


def resolve_objective(objective: "str | Measure", data: "ImageDataset") -> Objective:
    """Return the objective of a search on some data.

    "auto" is the average precision for several labels per image, the balanced accuracy where the largest class has
    more than twice as many training images as the smallest, and else the accuracy.

    Args:
        objective: One of OBJECTIVES or COSTS, or a function.
        data: The data.

    Raises:
        ValueError: The data has no such measure, or the function does not return a number.
    """
    if not isinstance(objective, str):
        return _check_function(Objective(name_objective(objective), objective), data)
    if objective == AUTO:
        return _choose(data)
    if objective == (BALANCED if data.multi_label else PRECISION):
        needed = "one label" if data.multi_label else "several labels"
        others = ", ".join(one for one in OBJECTIVES[1:] if one != objective)
        raise ValueError(f"the objective {objective} needs {needed} per image; choose from {others}")
    return Objective(objective)


def _choose(data: "ImageDataset") -> Objective:
    import numpy as np

    if data.multi_label:
        return Objective(PRECISION, reason="images have several labels")
    counts = np.bincount(data.splits["train"].labels, minlength=len(data.classes))
    if counts.max() <= MAX_RATIO * counts.min():
        return Objective(ACCURACY, reason="classes are balanced")
    most, least = int(counts.argmax()), int(counts.argmin())
    pairs = [f"{data.classes[i]!r} has {counts[i]:,} training images" for i in (most, least)]
    return Objective(BALANCED, reason=f"classes are imbalanced: {pairs[0]}, {pairs[1]}")


def name_objective(objective: "str | Measure") -> str:
    """Return the name of an objective in a request: for a function its module and name.

    Args:
        objective: One of OBJECTIVES or COSTS, or a function.
    """
    if isinstance(objective, str):
        return objective
    named = objective if hasattr(objective, "__qualname__") else type(objective)
    return f"{named.__module__}.{named.__qualname__}".replace("<locals>.", "")


def hash_function(objectives: Sequence[Objective]) -> dict[str, str]:
    """Return {"objective_hash": a hash of the source} of a function for a request; nothing for measures of kcnn.

    Args:
        objectives: The objectives, one of which may be a function.
    """
    function = next((one.function for one in objectives if one.function is not None), None)
    if function is None:
        return {}
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or compiled: its name alone counts
        return {}
    return {"objective_hash": hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}


def read_objectives(request: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives of a search from its folder.

    Args:
        request: The request of the search.
    """
    config = request["config"]
    held = config.get("objective", AUTO)
    if held == AUTO:
        return (Objective(PRECISION if config["train"].get("multi_label") else ACCURACY),)
    return tuple(map(Objective, [held] if isinstance(held, str) else held))


def call_function(objective: Objective, labels: "np.ndarray", probabilities: "np.ndarray") -> float:
    """Return what a function measures.

    Args:
        objective: An objective with a function.
        labels: Class indices (images,), or 0 and 1 (images, classes).
        probabilities: (images, classes).

    Raises:
        ValueError: It is not one finite number.
    """
    assert objective.function is not None
    value = objective.function(labels, probabilities)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"the objective {objective.name} must return a finite number for labels {labels.shape} and probabilities "
            f"{probabilities.shape}, got {value!r}"
        )
    return number


def _check_function(objective: Objective, data: "ImageDataset") -> Objective:
    """Call a function once before any trial, with the validation labels and the same probability of each class."""
    import numpy as np

    labels = data.splits["validation"].labels
    share = 0.5 if data.multi_label else 1 / len(data.classes)
    call_function(objective, np.array(labels), np.full((len(labels), len(data.classes)), share))
    return objective


def measure_test(objective: Objective, run: "TrainResult") -> float:
    """Return the value of an objective on the test split of a finished run.

    Args:
        objective: The objective.
        run: The run.

    Returns:
        The value; of a loss not its negative. Balanced accuracy and macro F1 are means over the classes with images.

    Raises:
        ValueError: A function does not return a number.
    """
    import numpy as np

    if objective.function is None:
        metrics = run.metrics
        column = {BALANCED: "recall", MACRO_F1: "f1"}.get(objective.name)
        if column is None:
            return metrics["mean_average_precision" if objective.name == PRECISION else objective.name]
        known = [row[column] for row in metrics["per_class"].values() if row["images"]]
        return float(np.mean(known))
    from kcnn.classification import to_probabilities
    from kcnn.training.evidence import read_evidence

    tested = read_evidence(run.folder)
    assert tested is not None, "a finished run has it"
    probabilities = to_probabilities(tested.logits, {"multi_label": tested.truth.ndim == 2})
    return call_function(objective, tested.truth, probabilities)
