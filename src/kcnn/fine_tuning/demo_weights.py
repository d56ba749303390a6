r"""Package the weights of a run as those of the demo.

The weights that come with kcnn are those of these commands:

    kcnn train convnet --model-option activation=relu --data digits:0-4 --input-size 32x32x1 --epochs 30 \
        --learning-rate 2e-3 --recipe-option shift=0.1 --recipe-option rotate=15 --recipe-option zoom=0.1 \
        --out runs/digits
    python -m kcnn.fine_tuning.demo_weights runs/digits
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

LICENSE = "CC BY 4.0"  # of the dataset
DATASET = "Optical Recognition of Handwritten Digits (UCI Machine Learning Repository, doi:10.24432/C50P49)"


def package_weights(run: Path) -> Path:
    """Write the weights of a finished run into the package, in float16, with the run's facts in their metadata.

    Args:
        run: The run's folder.

    Returns:
        The file.
    """
    metrics = run_directory.read_metrics(run)
    model = load_model(run / "model.keras")
    request = metrics["request"]
    model.update_metadata(
        command=metrics["command"],
        data=f"{request['data']} of {DATASET}",
        license=LICENSE,
        seed=request["config"]["seed"],
        accuracy=metrics["accuracy"],
        test_images=metrics["test_images"],
    )
    path = FOLDER / f"{model.metadata['spec']['network'].rpartition(':')[2]}.safetensors"
    with replace_atomically(path) as temporary:
        save_weights(model, temporary)
        halves = {name: array.astype(np.float16) for name, array in load_file(temporary).items()}
        save_file(halves, temporary, {"metadata": json.dumps(model.metadata)})
    return path


if __name__ == "__main__":
    print(package_weights(Path(sys.argv[1])))
