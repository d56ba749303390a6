from . import (
    run_directory as run_directory,
)
from .audit import (
    FrozenWeightChangedError as FrozenWeightChangedError,
)
from .audit import (
    WeightAudit as WeightAudit,
)
from .audit import (
    audit_weights as audit_weights,
)
from .callbacks import (
    NonFiniteLossError as NonFiniteLossError,
)
from .config import (
    TrainConfig as TrainConfig,
)
from .execution import (
    OutOfMemoryError as OutOfMemoryError,
)
from .experiments import (
    measure_variants as measure_variants,
)
from .experiments import (
    name_run_folder as name_run_folder,
)
from .fold_scores import (
    CrossValidation as CrossValidation,
)
from .freezing import (
    freeze as freeze,
)
from .freezing import (
    group_by_stage as group_by_stage,
)
from .freezing import (
    resolve_lr_multipliers as resolve_lr_multipliers,
)
from .freezing import (
    unfreeze as unfreeze,
)
from .losses import (
    CrossEntropy as CrossEntropy,
)
from .losses import (
    balance_class_weights as balance_class_weights,
)
from .losses import (
    make_accuracy as make_accuracy,
)
from .optimizers import (
    SGD as SGD,
)
from .optimizers import (
    Adam as Adam,
)
from .optimizers import (
    LossScaleOptimizer as LossScaleOptimizer,
)
from .optimizers import (
    adamw as adamw,
)
from .optimizers import (
    schedule as schedule,
)
from .optimizers import (
    sgd as sgd,
)
from .phases import (
    TrainingPhase as TrainingPhase,
)
from .recipes import (
    RECIPES as RECIPES,
)
from .recipes import (
    Recipe as Recipe,
)
from .recipes import (
    get_recipe as get_recipe,
)
from .result import (
    TrainResult as TrainResult,
)
from .result import (
    load_run as load_run,
)
from .run_data import (
    RunData as RunData,
)
from .run_data import (
    load_evaluation_data as load_evaluation_data,
)
from .run_data import (
    load_run_data as load_run_data,
)
from .trainer import (
    train as train,
)
