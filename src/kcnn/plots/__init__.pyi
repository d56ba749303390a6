from . import (
    figures as figures,
)
from .network import (
    plot_network as plot_network,
)
