"""Create a plugin: a complete distribution with one small network, in a folder of its own."""

import keyword
import tempfile
from pathlib import Path
from string import Template

import kcnn
from kcnn.architectures import registry
from kcnn.architectures.doctor import NAME

FILES = {  # file of the distribution, before its names are filled in: template
    "pyproject.toml": "pyproject.txt",
    "$module.py": "module.txt",
    "tests/test_$network.py": "test.txt",
    "README.md": "readme.txt",
    ".github/workflows/ci.yml": "ci.txt",
}
RESERVED = ("backbone", "conv", "max_pool", "plugins")  # in the template; kcnn has a package kcnn_plugins


def new_plugin(name: str, into: str | Path = ".") -> Path:
    """Write the distribution kcnn-NAME, which publishes a network NAME.

    Args:
        name: Name of the network: lowercase letters, digits and "_".
        into: Folder to write into.

    Returns:
        The folder of the distribution.

    Raises:
        ValueError: The name is invalid, reserved, or published already.
        FileExistsError: The folder exists.
    """
    network = name.removeprefix("kcnn-").replace("-", "_")
    if not NAME.fullmatch(network) or network.endswith("_") or keyword.iskeyword(network):
        raise ValueError(f"a name must have lowercase letters, digits and _ only, such as my_net, got {name!r}")
    if network in RESERVED:
        raise ValueError(f"the name {network!r} is reserved for the plugin's own code; choose another")
    if network in registry.discover():
        owners = " and ".join(registry.discover()[network])
        raise ValueError(f"{network!r} is already published by {owners}; choose another name")
    distribution = f"kcnn-{network.replace('_', '-')}"
    folder = Path(into) / distribution
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; remove it, or choose another folder with --into")
    names = {
        "network": network,
        "Network": "".join(part.capitalize() for part in network.split("_")),
        "distribution": distribution,
        "module": f"kcnn_{network}",
        "version": ".".join(kcnn.__version__.split(".")[:2]),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{distribution}-", dir=folder.parent) as temporary:
        written = Path(temporary) / distribution
        for target, source in FILES.items():
            file = written / Template(target).substitute(names)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = Path(__file__).with_name("template").joinpath(source).read_text()
            file.write_text(Template(text).substitute(names))
        written.rename(folder)
    return folder
