from . import (
    formatting as formatting,
)
from . import (
    graph as graph,
)
from . import (
    names as names,
)
from . import (
    ops as ops,
)
from . import (
    overrides as overrides,
)
from . import (
    shape_inference as shape_inference,
)
from . import (
    summaries as summaries,
)
from . import (
    tracing as tracing,
)
from . import (
    windows as windows,
)
