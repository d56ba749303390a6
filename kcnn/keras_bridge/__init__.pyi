from . import (
    from_keras as from_keras,
)
from . import (
    layers as layers,
)
from . import (
    model as model,
)
from . import (
    models as models,
)
from . import (
    to_keras as to_keras,
)
