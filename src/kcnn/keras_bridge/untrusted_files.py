"""Check HDF5 files, archives and configs of Keras models before anything in them is read.

An HDF5 file can name other files of the machine, whose bytes are then read as weights; a config can name functions
that run, and files that are read. Nothing of the kind belongs to a network, so it is refused.
"""

import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from kcnn.atomic_io import parse_json

WEIGHTS, CONFIG = "model.weights.h5", "config.json"  # in a .keras archive
MAX_EXPANSION = 16  # bytes that a file may claim for each that it has; weights hardly compress
SMALL = 32 << 20  # bytes that any file may claim besides: a compressed kernel of zeros takes almost none
MAX_DEPTH = 64  # groups inside each other; HDF5 takes a time that grows with its square, and recurs
FILTERS = (1, 2, 3, 4, 5, 6, 32000)  # HDF5's own and h5py's LZF; others are code that HDF5 looks for on the machine
KERAS_PACKAGES = ("keras", "builtins")  # Keras writes functions such as "relu" as of builtins
NAMES = ("class_name", "registered_name", "module")  # of which Keras joins one to find a class: keras + layers.Dense
CODE_LAYERS = (  # layers that run code in their config, or read a file that it names
    *("__lambda__", "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization"),
)


class UntrustedFileError(ValueError):
    """Raised for a file that would reach outside itself, run code, or claim more than it holds."""


def check_hdf5(root: Any, size: int) -> None:
    """Refuse an HDF5 file that reaches outside itself or claims more than it holds. Reads no data.

    Args:
        root: The opened h5py.File.
        size: Bytes of the file.

    Raises:
        UntrustedFileError: Groups deep inside each other, a link that is not hard, a dataset that is external, virtual
            or of an unknown filter, or datasets that claim more than 32 MiB and 16 times the bytes of the file.
    """
    import h5py

    claimed, groups, seen = 0, [(root, 0)], set()
    while groups:
        group, depth = groups.pop()
        if depth > MAX_DEPTH:
            raise UntrustedFileError(f"it has more than {MAX_DEPTH} groups inside each other")
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
                raise UntrustedFileError(f"{where} is {kind}; expected only groups and datasets of the file itself")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                claimed += _check_dataset(item, where)
                check_claim(claimed, size, f"the datasets up to {where}")


def _check_dataset(dataset: Any, where: str) -> int:
    """Refuse a dataset whose data lie elsewhere, and return the bytes that it claims."""
    import h5py

    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        raise UntrustedFileError(f"{where} keeps its data in another file ({properties.get_external(0)[0].decode()})")
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise UntrustedFileError(f"{where} is a virtual dataset, made of the data of other files")
    for number in range(properties.get_nfilters()):
        if properties.get_filter(number)[0] not in FILTERS:
            raise UntrustedFileError(f"{where} is compressed by an unknown filter; save it without, or by gzip")
    return math.prod(dataset.shape or ()) * dataset.dtype.itemsize


def check_claim(claimed: int, size: int, what: str) -> None:
    """Refuse what claims more than 32 MiB and 16 times the bytes of its file.

    Args:
        claimed: Bytes that it claims.
        size: Bytes of the file.
        what: What claims them, for the message.

    Raises:
        UntrustedFileError: It does.
    """
    if claimed > _limit(size):
        raise UntrustedFileError(
            f"{what} claim {claimed:,} bytes in a file of {size:,}; expected at most {_limit(size):,}. "
            "If you trust it, write it again without compression (HDF5: h5repack -f NONE)"
        )


def _limit(size: int) -> int:
    """Bytes that a file of this size may claim."""
    return SMALL + MAX_EXPANSION * size


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse a zip file with names outside it, with names twice, or that expands out of proportion.

    Args:
        archive: The archive.
        size: Bytes of the file.

    Raises:
        UntrustedFileError: As above, or a member is encrypted or compressed otherwise than by deflate.
    """
    names = set()
    for member in archive.infolist():
        name = member.filename
        parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
        if ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
            raise UntrustedFileError(f"its member {name!r} would lie outside of it")
        if name in names:
            raise UntrustedFileError(f"it has two members {name!r}")
        names.add(name)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UntrustedFileError(f"its member {name!r} is encrypted or of an unknown compression")
    check_claim(sum(member.file_size for member in archive.infolist()), size, "its members")


def read_keras_config(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the config of a .keras archive.

    Raises:
        UntrustedFileError: There is none, or it is not that of a model.
    """
    try:
        config = parse_json(archive.read(CONFIG))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UntrustedFileError(f"{CONFIG}: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise UntrustedFileError(f"{CONFIG} describes no Keras model")
    return config


def check_keras_config(config: Mapping[str, Any], size: int, packages: tuple[str, ...] = ("kcnn",)) -> None:
    """Refuse a Keras config that names code, files or modules of other packages, or numbers out of proportion.

    Args:
        config: The config of a model.
        size: Bytes of its weights.
        packages: Packages beside Keras whose classes it may name.

    Raises:
        UntrustedFileError: It does; the message has the layer.
    """
    for entry in _iterate_objects(config):
        name, module, own = str(entry["class_name"]), entry.get("module"), entry.get("config")
        own = own if isinstance(own, Mapping) else {}
        label = f"{own.get('name', entry.get('name', name))!r} ({name})"
        parts = {part for key in NAMES for part in re.split(r"[.>]", str(entry.get(key)))}
        if not parts.isdisjoint(CODE_LAYERS):
            raise UntrustedFileError(f"{label} runs code, or reads a file, that the config names")
        if isinstance(module, str) and module.partition(".")[0] not in (*KERAS_PACKAGES, *packages):
            raise UntrustedFileError(f"{label} is of the module {module!r}, which is not imported for a file")
        for key, value in own.items():
            largest = 0 if key == "seed" else max((abs(n) for n in _iterate_integers(value)), default=0)
            if largest > _limit(size):
                raise UntrustedFileError(
                    f"{label} has {key} {largest:,}, more than a layer with weights of {size:,} bytes can have"
                )


def _iterate_integers(value: Any) -> Iterator[int]:
    """The integers of a value of a config, or of lists of lists of them."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, list):
            values += value
        elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            yield int(value)


def _iterate_objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of a config: dictionaries with a class name."""
    values = [config]
    while values:
        value = values.pop()
        if isinstance(value, Mapping):
            if "class_name" in value:
                yield value
            values += value.values()
        elif isinstance(value, list):
            values += value


def check_keras_file(path: Path, packages: tuple[str, ...] = ("kcnn",)) -> dict[str, Any]:
    """Check a .keras file before Keras loads it.

    Args:
        path: The file.
        packages: Packages beside Keras whose classes it may name.

    Returns:
        Its config.

    Raises:
        UntrustedFileError: It is no .keras file, is damaged, or would run code or read other files.
    """
    import h5py

    if path.suffix != ".keras":  # by another suffix Keras would read it as another format
        raise UntrustedFileError("expected a file whose name ends in .keras")
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.stat().st_size)
            damaged = archive.testzip()  # Keras reads on where a checksum does not match
            if damaged:
                raise UntrustedFileError(f"its member {damaged!r} is damaged: its checksum does not match")
            config = read_keras_config(archive)
            content = archive.read(WEIGHTS)  # into memory: HDF5 jumps, for which an archive reads again
        check_keras_config(config, len(content), packages)
        with h5py.File(io.BytesIO(content), "r") as opened:
            check_hdf5(opened, len(content))
    except UntrustedFileError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UntrustedFileError(str(error)) from None
    return config
