from . import (
    space as space,
)
from . import (
    tuners as tuners,
)
from .chief import (
    SearchMismatchError as SearchMismatchError,
)
from .config import (
    SearchConfig as SearchConfig,
)
from .hypermodel import (
    HyperModel as HyperModel,
)
from .journal import (
    Trial as Trial,
)
from .objectives import (
    Objective as Objective,
)
from .rerun import (
    RerunResult as RerunResult,
)
from .rerun import (
    rerun_trial as rerun_trial,
)
from .result import (
    FinalEvaluation as FinalEvaluation,
)
from .result import (
    SearchResult as SearchResult,
)
from .run import (
    search as search,
)
from .workers import (
    WorkerFailedError as WorkerFailedError,
)
