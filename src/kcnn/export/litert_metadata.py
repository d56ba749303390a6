"""Write the standard metadata of LiteRT files (TFLite Metadata), which Task Library, MediaPipe and ML Kit read.

The table is that of metadata_schema.fbs, version 1.0.0 of its parser: fields of tables are numbered in its order, and a
union has two numbers, of its type and of its value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

IDENTIFIER, ENTRY = b"M001", "TFLITE_METADATA"  # of the schema, and of the entry in the model's own table
PARSER = "1.0.0"  # the first that knows all fields below
COLOR_SPACES = {3: 1, 1: 2}  # RGB and GRAYSCALE by the number of channels
FEATURE, IMAGE = 1, 2  # ContentProperties
NORMALIZATION = 1  # ProcessUnitOptions
AXIS_LABELS = 2  # AssociatedFileType: one line of text for each position of an axis


@dataclass(frozen=True)
class Number:
    """A number of a given type, such as "Int8"."""

    kind: str
    value: int


Fields = Mapping[int, Any]  # values by the number of the field: texts, Numbers, tables, and lists of floats or tables


def describe_classifier(
    name: str, input_shape: Sequence[int], labels_file: str, *, description: str, version: str
) -> bytes:
    """Return the metadata of a classifier of pixels 0..255 that gives one probability per class.

    Args:
        name: Of the model.
        input_shape: (rows, columns, channels).
        labels_file: Name of the file in the archive behind the model, with a class on each line.
        description: What the model does.
        version: Version of the program that wrote it.

    Returns:
        The flat buffer.
    """
    rows, columns, channels = input_shape
    size = {0: Number("Uint32", columns), 1: Number("Uint32", rows)}
    color = {0: Number("Int8", COLOR_SPACES.get(channels, 0)), 1: size}
    image = {
        0: "image",
        1: "pixels 0..255, which the model scales itself",
        3: {0: Number("Uint8", IMAGE), 1: color},
        4: [{0: Number("Uint8", NORMALIZATION), 1: {0: [0.0], 1: [1.0]}}],  # mean and deviation
        5: {0: [255.0], 1: [0.0]},  # largest and smallest value
    }
    labels = {0: labels_file, 1: "the name of each class", 2: Number("Int8", AXIS_LABELS)}
    scores = {
        0: "probability",
        1: "probability of each class",
        3: {0: Number("Uint8", FEATURE), 1: {}},
        5: {0: [1.0], 1: [0.0]},
        6: [labels],
    }
    builder = flatbuffers.Builder(1024)
    graph = {2: [image], 3: [scores]}
    root = _write_table(builder, {0: name, 1: description, 2: version, 3: [graph], 7: PARSER})
    builder.Finish(root, IDENTIFIER)
    return bytes(builder.Output())


def embed_metadata(model: bytes, metadata: bytes) -> bytes:
    """Return a LiteRT model with a buffer of metadata among its own.

    Args:
        model: The model's flat buffer.
        metadata: As from `describe_classifier`.

    Returns:
        The model's flat buffer.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    content = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = metadata
    entry.name, entry.buffer = ENTRY, len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or ()), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _write_table(builder: flatbuffers.Builder, fields: Fields) -> int:
    """Write a table after all that it refers to, and return its offset."""
    offsets = {slot: _write_value(builder, value) for slot, value in fields.items() if not isinstance(value, Number)}
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if isinstance(value, Number):
            getattr(builder, f"Prepend{value.kind}Slot")(slot, value.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return builder.EndObject()


def _write_value(builder: flatbuffers.Builder, value: Any) -> int:
    """Write a text, a table, or a list of floats or tables, and return its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, Mapping):
        return _write_table(builder, value)
    is_floats = all(isinstance(item, float) for item in value)
    items = value if is_floats else [_write_value(builder, item) for item in value]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependFloat32(item) if is_floats else builder.PrependUOffsetTRelative(item)
    return builder.EndVector()
