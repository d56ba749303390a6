from .choice import (
    Choice as Choice,
)
from .choice import (
    ProbeResult as ProbeResult,
)
from .choice import (
    choose as choose,
)
from .comparison import (
    Comparison as Comparison,
)
from .new_head import (
    replace_head as replace_head,
)
from .protocols import (
    Protocol as Protocol,
)
from .protocols import (
    compare_protocols as compare_protocols,
)
from .protocols import (
    default_protocols as default_protocols,
)
