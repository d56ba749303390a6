from .downloads import (
    DownloadError as DownloadError,
)
from .loading import (
    PartialWeightsWarning as PartialWeightsWarning,
)
from .loading import (
    find_published as find_published,
)
from .loading import (
    load_into_graph as load_into_graph,
)
from .loading import (
    load_weights as load_weights,
)
from .loading import (
    save_weights as save_weights,
)
