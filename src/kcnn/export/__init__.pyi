from . import (
    sliding as sliding,
)
from .evaluation import (
    Evaluation as Evaluation,
)
from .evaluation import (
    evaluate as evaluate,
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
from .publication import (
    Publication as Publication,
)
from .publication import (
    publish as publish,
)
from .run_export import (
    ExportRejectedError as ExportRejectedError,
)
from .run_export import (
    ExportResult as ExportResult,
)
from .run_export import (
    export_run as export_run,
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
