"""What tests of splits share: a training of seconds on images of noise, commands, and the contents of images."""

import json
import shutil

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from kcnn.cli import app
from kcnn.training.run_data import read_run_record
from kcnn.training.run_directory import read_config, write_config

SMALL = {"network": "mlp", "input_shape": (8, 8, 1), "epochs": 1, "batch_size": 8}


def invoke(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, " ".join(done.stderr.split())


def evaluate(*words):
    """The metrics of `kcnn evaluate`, and its notes."""
    text, notes = invoke("evaluate", *words, "--json")
    return json.loads(text), notes


def contents(split):
    return set(split.hashes.tolist())


def of(run, *splits):
    """The contents that a run recorded in splits."""
    record = read_run_record(run)
    return {record.hashes[i] for split in splits for i in record.find_rows(split)}


def read_arrays(root):
    """The images of a folder as arrays, decoded elsewhere, and their labels."""
    files = sorted(root.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    return pixels, np.array([["cat", "dog"].index(file.parent.name) for file in files])


def move(run, out, data):
    """A copy of a run whose data is elsewhere."""
    config = read_config(shutil.copytree(run, out))
    config["request"]["data"] = config["data_path"] = str(data)
    write_config(out, config)
    return out
