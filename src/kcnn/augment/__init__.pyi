from .augmentation import (
    Augmentation as Augmentation,
)
from .mix import (
    cutmix as cutmix,
)
from .mix import (
    erase as erase,
)
from .mix import (
    mixup as mixup,
)
from .tf_dataset import (
    augment_dataset as augment_dataset,
)
from .transforms import (
    augment as augment,
)
from .transforms import (
    color_jitter as color_jitter,
)
from .transforms import (
    flip as flip,
)
from .transforms import (
    padded_crop as padded_crop,
)
from .transforms import (
    rand_augment as rand_augment,
)
from .transforms import (
    resized_crop as resized_crop,
)
from .transforms import (
    rotate as rotate,
)
