from . import (
    architectures as architectures,
)
from . import (
    augment as augment,
)
from . import (
    blocks as blocks,
)
from . import (
    classification as classification,
)
from . import (
    data as data,
)
from . import (
    distribute as distribute,
)
from . import (
    explain as explain,
)
from . import (
    export as export,
)
from . import (
    fine_tuning as fine_tuning,
)
from . import (
    graph as graph,
)
from . import (
    keras_bridge as keras_bridge,
)
from . import (
    plots as plots,
)
from . import (
    reports as reports,
)
from . import (
    search as search,
)
from . import (
    statistics as statistics,
)
from . import (
    testing as testing,
)
from . import (
    training as training,
)
from . import (
    weights as weights,
)
from .architectures.architecture import (
    Architecture as Architecture,
)
from .architectures.architecture import (
    WeightMapping as WeightMapping,
)
from .architectures.architecture import (
    Weights as Weights,
)
from .architectures.graph_diff import (
    diff as diff,
)
from .architectures.registry import (
    get_architecture as get_architecture,
)
from .architectures.registry import (
    list_models as list_models,
)
from .architectures.registry import (
    refresh_plugins as refresh_plugins,
)
from .architectures.spec import (
    ModelSpec as ModelSpec,
)
from .architectures.spec import (
    NoEffectWarning as NoEffectWarning,
)
from .architectures.spec import (
    min_input_size as min_input_size,
)
from .architectures.spec import (
    summary as summary,
)
from .architectures.spec import (
    trace as trace,
)
from .building import (
    build as build,
)
from .export.inference_model import (
    optimize_for_inference as optimize_for_inference,
)
from .export.prediction import (
    predict as predict,
)
from .export.predictions import (
    Predictions as Predictions,
)
from .export.publication import (
    publish as publish,
)
from .export.sliding.sliding_model import (
    sliding_window as sliding_window,
)
from .fine_tuning.choice import (
    choose as choose,
)
from .graph import (
    ops as ops,
)
from .graph.graph import (
    Graph as Graph,
)
from .graph.names import (
    UnknownNameError as UnknownNameError,
)
from .graph.summaries import (
    Summary as Summary,
)
from .graph.tracing import (
    SymbolicTensor as SymbolicTensor,
)
from .keras_bridge.from_keras import (
    from_keras as from_keras,
)
from .keras_bridge.saved_models import (
    load_model as load_model,
)
from .search.hypermodel import (
    HyperModel as HyperModel,
)
from .training.config import (
    TrainConfig as TrainConfig,
)
from .training.result import (
    TrainResult as TrainResult,
)
from .training.result import (
    load_run as load_run,
)
from .training.trainer import (
    train as train,
)
from .weights.loading import (
    load_weights as load_weights,
)

__version__: str
