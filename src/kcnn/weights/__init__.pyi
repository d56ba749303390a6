from .downloads import (
    DownloadError as DownloadError,
)
from .loading import (
    MorphedWeightsWarning as MorphedWeightsWarning,
)
from .loading import (
    PartialWeightsWarning as PartialWeightsWarning,
)
from .loading import (
    load_into_graph as load_into_graph,
)
from .loading import (
    load_weights as load_weights,
)
from .loading import (
    morph_weights as morph_weights,
)
from .loading import (
    save_weights as save_weights,
)
from .matching import (
    LoadReport as LoadReport,
)
from .matching import (
    TensorMatch as TensorMatch,
)
from .morphing import (
    MorphReport as MorphReport,
)
from .published import (
    find_published as find_published,
)
