from .datasets import (
    distribute_dataset as distribute_dataset,
)
from .datasets import (
    pad_batches as pad_batches,
)
from .datasets import (
    predict_dataset as predict_dataset,
)
from .datasets import (
    prefetch as prefetch,
)
from .processes import (
    launch as launch,
)
from .replica_check import (
    check_replicas as check_replicas,
)
from .strategies import (
    KINDS as KINDS,
)
from .strategies import (
    copy_to_single_device as copy_to_single_device,
)
from .strategies import (
    is_chief as is_chief,
)
from .strategies import (
    join_workers as join_workers,
)
from .strategies import (
    make_strategy as make_strategy,
)
from .strategies import (
    name_strategy as name_strategy,
)
from .strategies import (
    synchronize_batch_norm as synchronize_batch_norm,
)
from .strategies import (
    worker_position as worker_position,
)
