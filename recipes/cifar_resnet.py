"""ResNet-20 on CIFAR-10 with the paper's schedule, whose test error is 8.75% (arXiv:1512.03385, table 6).

    python recipes/cifar_resnet.py cifar/                    # a folder train/CLASS/*, test/CLASS/*
    python recipes/cifar_resnet.py cifar/ --quick            # 8 epochs, for a CPU
    python recipes/cifar_resnet.py tfds:cifar10

--quick, seed 0, the only one that was run, on 2 CPU cores, with JPEG copies of CIFAR-10's images:
82.16% of the test images (error 17.84%) after 23 minutes, 165 s an epoch;
85.36% (error 14.64%) with --epochs 16 after 62 minutes beside other work, 152 to 167 s an epoch without.
The full schedule was not run: it needs a GPU.
This was measured with the weights of the last epoch; kcnn has since taken the last one within one standard error of the
best in validation.
The paper trains with 45,000 images and keeps 5,000 for validation, as happens here; its last run has all 50,000.
"""

from pathlib import Path
from typing import Annotated

import typer

from kcnn.cli import script
from kcnn.cli.backend import start_backend

QUICK = {  # for few epochs: warmup, a cosine schedule, and smaller batches
    "schedule": "cosine",
    "warmup": 0.15,
    "batch_size": 64,
    "learning_rate": 0.1,
    "nesterov": True,
    "weight_decay": 5e-4,
    "ema_momentum": 0.995,
}


def main(
    data: Annotated[str, typer.Argument(help='Folder of CIFAR-10, or "tfds:cifar10".')] = "tfds:cifar10",
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs, for a CPU.")] = False,
    epochs: Annotated[int | None, typer.Option(help="182 by default, 8 with --quick.")] = None,
    network: str = "resnet20",
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    seed: int = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: scikit-learn's digits, one epoch.")] = False,
) -> None:
    start_backend()
    from kcnn import ModelSpec
    from kcnn.reports import write_report
    from kcnn.training import TrainConfig, train

    folder = Path("runs/smoke" if smoke else "runs") / (f"cifar_{network}_quick" if quick else f"cifar_{network}")
    result = train(
        ModelSpec(network=network, input_shape=(32, 32, 3)),
        "digits" if smoke else data,
        TrainConfig(recipe="paper", recipe_overrides={**QUICK, "epochs": 8} if quick else {}, seed=seed),
        out=out or folder,
        epochs=1 if smoke else epochs,
        log=print,
    )
    error = 1 - result.metrics["accuracy"]
    print(f"{network}: test error {error:.2%} after {result.metrics['training_seconds'] / 60:.0f} minutes of training")
    print(f"report: {write_report(result.folder)}")


if __name__ == "__main__":
    script(main)
