"""Put the weights of a run into the package, as those of the demonstration.

    kcnn train convnet --set act=relu --data digits:0-4 --input 32x32x1 --epochs 30 --learning-rate 2e-3 \\
        --adjust shift=0.1 --adjust rotate=15 --adjust zoom=0.1 --out runs/digits
    python -m kcnn.fine_tuning.shipping runs/digits
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from kcnn.atomic_io import replace_atomically
from kcnn.keras_bridge.saved_models import load_model
from kcnn.training import run_directory
from kcnn.weights import save_weights
from kcnn.weights.packaged import FOLDER

LICENSE = "CC BY 4.0"  # of what they learned on
DATA = "Optical Recognition of Handwritten Digits (UCI Machine Learning Repository, doi:10.24432/C50P49)"


def export_best(run: Path) -> Path:
    """Put the weights of a finished run into the package, in float16, with the run's facts on their card."""
    found = run_directory.read_metrics(run)
    model = load_model(run / "model.keras")
    request = found["request"]
    model.update_metadata(
        command=found["command"],
        data=f"{request['data']} of {DATA}",
        license=LICENSE,
        seed=request["seed"],
        accuracy=found["accuracy"],
        test_images=found["test_images"],
    )
    path = FOLDER / f"{model.metadata['spec']['network'].rpartition(':')[2]}.safetensors"
    with replace_atomically(path) as temporary:
        save_weights(model, temporary)
        halves = {name: array.astype(np.float16) for name, array in load_file(temporary).items()}
        save_file(halves, temporary, {"metadata": json.dumps(model.metadata)})
    return path


if __name__ == "__main__":
    print(export_best(Path(sys.argv[1])))
