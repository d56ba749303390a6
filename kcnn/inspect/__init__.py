"""Looking inside any flat Keras model: what layers give, where it finds its answers, how far it sees, how it trains.

Each word is imported when it is first used. Pictures of what is found are in kcnn.inspect.show.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.inspect.cam import grad_cam
    from kcnn.inspect.field import MeasuredReceptiveField, measure_receptive_field
    from kcnn.inspect.hiding import occlusion
    from kcnn.inspect.layers import activations, filters
    from kcnn.inspect.sampling import TrainingStatistics

__all__ = ["MeasuredReceptiveField", "TrainingStatistics", "activations", "filters", "grad_cam", "measure_receptive_field", "occlusion"]

__getattr__, __dir__ = words(
    __name__,
    {
        "cam": ("grad_cam",),
        "field": ("Field", "measured_field"),
        "hiding": ("occlusion",),
        "layers": ("activations", "filters"),
        "sampling": ("Statistics",),
    },
    globals(),
)
