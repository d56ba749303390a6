from . import (
    architecture as architecture,
)
from . import (
    catalogue as catalogue,
)
from . import (
    class_names as class_names,
)
from . import (
    descriptions as descriptions,
)
from . import (
    doctor as doctor,
)
from . import (
    graph_diff as graph_diff,
)
from . import (
    plugins as plugins,
)
from . import (
    publishers as publishers,
)
from . import (
    registry as registry,
)
from . import (
    spec as spec,
)
