from .class_activation import (
    grad_cam as grad_cam,
)
from .layer_activations import (
    activations as activations,
)
from .layer_activations import (
    filters as filters,
)
from .occlusion_maps import (
    occlusion as occlusion,
)
from .receptive_field import (
    MeasuredReceptiveField as MeasuredReceptiveField,
)
from .receptive_field import (
    measure_receptive_field as measure_receptive_field,
)
from .training_statistics import (
    TrainingStatistics as TrainingStatistics,
)
