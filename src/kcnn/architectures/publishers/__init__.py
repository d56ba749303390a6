"""Pretrained weights of torchvision, keras.applications, KerasHub and timm: URLs, and how their layers are named."""

from kcnn.architectures.publishers.keras_names import add_group_names, number_layers, rename_keras_hub_units
from kcnn.architectures.publishers.layer_names import make_mapping, rename_branches, rename_normalized, rename_parts
from kcnn.architectures.publishers.published_files import (
    GOOGLE,
    both_torchvision_weights,
    keras_weights,
    tf_slim_weights,
    torchvision_weights,
)
from kcnn.architectures.publishers.timm_names import map_timm_units, rename_numbered_units, rename_timm_units

__all__ = [
    "GOOGLE",
    "add_group_names",
    "both_torchvision_weights",
    "keras_weights",
    "make_mapping",
    "map_timm_units",
    "number_layers",
    "rename_branches",
    "rename_keras_hub_units",
    "rename_normalized",
    "rename_numbered_units",
    "rename_parts",
    "rename_timm_units",
    "tf_slim_weights",
    "torchvision_weights",
]
