from . import (
    space as space,
)
from .journal import (
    Trial as Trial,
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
from .run import (
    SearchResult as SearchResult,
)
from .run import (
    search as search,
)
