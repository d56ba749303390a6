from . import (
    from_keras as from_keras,
)
from . import (
    keras_code as keras_code,
)
from . import (
    keras_graph as keras_graph,
)
from . import (
    layers as layers,
)
from . import (
    metadata as metadata,
)
from . import (
    model as model,
)
from . import (
    saved_models as saved_models,
)
from . import (
    to_keras as to_keras,
)
