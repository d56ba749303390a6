"""Make Keras know kcnn's layers by name after `import kcnn`, which loads neither Keras nor the layers.

keras.saving.load_model, ModelCheckpoint's files and scripts that resume then need nothing else of kcnn.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

PACKAGE = "kcnn"  # in Keras' registered names: "kcnn>Pad2D"
CLASSES = {
    "kcnn.keras_bridge.model": ("Network",),
    "kcnn.keras_bridge.layers": (
        "AdaptiveAveragePooling2D",
        "AveragePooling2D",
        "BatchNormalization",
        "ChannelShuffle",
        "ChannelSlice",
        "LocalResponseNormalization",
        "Pad2D",
        "SubsampledConv2D",
    ),
    "kcnn.keras_bridge.normalization": ("GlobalResponseNormalization", "LayerScale", "StandardizedConv2D"),
    "kcnn.export.sliding.layers": ("PositionwiseModel", "Windows"),
    "kcnn.training.losses": ("ClassAverage", "CrossEntropy", "MeanAveragePrecision"),
    "kcnn.training.optimizers": ("Adam", "LinearWarmup", "LossScaleOptimizer", "SGD"),
}
FUNCTIONS = {"kcnn.training.losses": ("binary_cross_entropy", "cross_entropy", "is_hit", "subset_accuracy")}


@dataclass(frozen=True)
class LazyClass:
    """Stand for a class until Keras makes an object of it from a config.

    Attributes:
        path: Where it is, such as "kcnn.keras_bridge.layers:Pad2D".
    """

    path: str

    def from_config(self, config: dict[str, Any], **keywords: Any) -> Any:
        """Import the class and return its object of a config."""
        return resolve_name(self.path).from_config(config, **keywords)


def register_lazily() -> None:
    """Register kcnn's layers with Keras: now where it is loaded, else as soon as it is."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _KerasFinder())


class _KerasFinder:
    """Find Keras as the other finders do, and register when its import is complete.

    The package wrapt does so too; importing it takes twenty times as long as importing kcnn.
    """

    def __init__(self) -> None:
        self.is_searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras" or self.is_searching:
            return None
        self.is_searching = True
        try:
            spec = find_spec(fullname)
        finally:
            self.is_searching = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register(keras: Any) -> None:
    saving = getattr(keras, "saving", None)
    if saving is None:  # a namespace that something else put in its place
        return
    objects = saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            objects.setdefault(f"{PACKAGE}>{name}", LazyClass(f"{module}:{name}"))
    for module, names in FUNCTIONS.items():
        for name in names:
            if f"{PACKAGE}>{name}" not in objects:
                saving.register_keras_serializable(PACKAGE, name)(_lazy_function(f"{module}:{name}"))


def _lazy_function(path: str) -> Callable[..., Any]:
    """A function that imports another when it is called; Keras takes no other object for a function."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        return resolve_name(path)(*arguments, **keywords)

    call.__name__ = path.rpartition(":")[2]
    return call
