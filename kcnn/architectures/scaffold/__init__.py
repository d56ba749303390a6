"""A start for a plugin: a complete distribution with one small network, written into a folder of its own."""

import keyword
import tempfile
from pathlib import Path
from string import Template

import kcnn
from kcnn.architectures import registry
from kcnn.architectures.doctor import NAME

FILES = {  # file of the distribution, with its names filled in: template
    "pyproject.toml": "pyproject.txt",
    "$module.py": "module.txt",
    "tests/test_$network.py": "test.txt",
    "README.md": "readme.txt",
    ".github/workflows/ci.yml": "ci.txt",
}
TAKEN = ("backbone", "conv", "max_pool", "plugins")  # in the template; kcnn_plugins is a package of kcnn's


def new_plugin(name: str, into: str | Path = ".") -> Path:
    """Write the distribution `kcnn-NAME`, which publishes a network NAME, and return its folder.

    ValueError for a name that is no word of small letters, digits and _, or that is published here already;
    FileExistsError where the folder is there.
    """
    network = name.removeprefix("kcnn-").replace("-", "_")
    if not NAME.fullmatch(network) or network.endswith("_") or keyword.iskeyword(network):
        raise ValueError(f"a network's name is a word of small letters, digits and _, such as my_net, not {name!r}")
    if network in TAKEN:
        raise ValueError(f"{network!r} is a name that the plugin's own code needs; give the network another")
    if network in registry.discover():
        owners = " and ".join(registry.discover()[network])
        raise ValueError(f"{network!r} is published by {owners}; give yours another name")
    distribution = f"kcnn-{network.replace('_', '-')}"
    folder = Path(into) / distribution
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; remove it, or write elsewhere with --into")
    words = {
        "network": network,
        "Network": "".join(part.capitalize() for part in network.split("_")),
        "distribution": distribution,
        "module": f"kcnn_{network}",
        "version": ".".join(kcnn.__version__.split(".")[:2]),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{distribution}-", dir=folder.parent) as beside:
        whole = Path(beside) / distribution
        for target, source in FILES.items():
            file = whole / Template(target).substitute(words)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = Path(__file__).with_name("template").joinpath(source).read_text()
            file.write_text(Template(text).substitute(words))
        whole.rename(folder)
    return folder
