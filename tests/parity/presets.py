"""Folders of KerasHub's presets with seeded weights, from what tests/parity/record_keras_hub.py recorded."""

import gzip
import json
from pathlib import Path

from tests.parity.seeded import seeded_variables

PRESETS = {
    file.name.removesuffix(".json.gz"): file for file in sorted(Path(__file__).parent.joinpath("presets").glob("*.gz"))
}


def load_preset(name):
    """Return the record of a preset."""
    return json.loads(gzip.decompress(PRESETS[name].read_bytes()))


def write_preset(record, folder, has_names=True):
    """Write the files of a preset; before Keras 3.10 the weights have no names of layers."""
    import h5py

    folder.mkdir(exist_ok=True)
    gain = record.get("gain", 1.0)
    for file, config in record["configs"].items():
        (folder / file).write_text(json.dumps(config))
    for file, groups in record["weights"].items():
        with h5py.File(folder / file, "w") as opened:
            for path, name, shapes in groups:
                group = opened.create_group(f"{path}/vars")
                if has_names:
                    group.attrs["name"] = name
                for number, array in enumerate(seeded_variables(name, [tuple(shape) for shape in shapes], gain)):
                    group.create_dataset(str(number), data=array)
    return folder
