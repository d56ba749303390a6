from . import (
    sliding as sliding,
)
from .formats import (
    export_model as export_model,
)
from .inference_model import (
    optimize_for_inference as optimize_for_inference,
)
from .prediction import (
    SkippedImagesWarning as SkippedImagesWarning,
)
from .prediction import (
    predict as predict,
)
from .predictions import (
    Prediction as Prediction,
)
from .predictions import (
    Predictions as Predictions,
)
from .runtimes import (
    ExportedModel as ExportedModel,
)
from .runtimes import (
    load_exported as load_exported,
)
from .verification import (
    ExportCheck as ExportCheck,
)
from .verification import (
    verify_exports as verify_exports,
)
