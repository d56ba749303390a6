from .candidate import (
    Candidate as Candidate,
)
from .candidate import (
    NoFeasiblePointError as NoFeasiblePointError,
)
from .choices import (
    Choice as Choice,
)
from .choices import (
    Range as Range,
)
from .choices import (
    conditional as conditional,
)
from .choices import (
    per_layer as per_layer,
)
from .defaults import (
    default_space as default_space,
)
from .defaults import (
    stack_space as stack_space,
)
from .feasibility import (
    FeasibilityReport as FeasibilityReport,
)
from .feasibility import (
    Rejection as Rejection,
)
from .feasibility import (
    analyze_feasibility as analyze_feasibility,
)
from .limits import (
    Limits as Limits,
)
from .nearest import (
    find_nearest as find_nearest,
)
from .search_space import (
    Space as Space,
)
