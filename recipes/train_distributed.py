"""Train on one device, on all GPUs of a machine, or on several machines: with the same command and the same losses.

    python recipes/train_distributed.py                                        # all GPUs, or the CPU
    python recipes/train_distributed.py --strategy mirrored                    # all GPUs of this machine
    kcnn launch --workers 2 python recipes/train_distributed.py --strategy multiworker       # tried on one machine

Slurm: one task per machine, or per GPU with --gpus-per-task=1; srun tells each task who it is.

    srun --nodes 4 --ntasks-per-node 1 --gpus-per-node 8 python recipes/train_distributed.py --strategy multiworker

Kubernetes: an indexed Job of N pods behind a headless Service, each pod with
    TF_CONFIG={"cluster": {"worker": ["NAME-0.SERVICE:2222", "NAME-1.SERVICE:2222"]},
               "task": {"type": "worker", "index": I}}
where I is the pod's JOB_COMPLETION_INDEX; Kubeflow's TFJob sets TF_CONFIG itself. Give every pod the same --out on a
shared volume, or a volume of its own that outlives it: each keeps its own checkpoints, and a pod that is started again
resumes with the others from the last one that all have.

The batch is the global one: replicas share it, so that more of them change the speed and not the result. With a batch
several times larger, scale the learning rate with it (arXiv:1706.02677).
"""

from pathlib import Path
from typing import Annotated

import typer

from kcnn.cli import script
from kcnn.cli.backend import start_backend


def main(
    data: Annotated[str, typer.Option(help='"digits", "tfds:NAME", or a folder of class folders.')] = "digits",
    network: str = "resnet20",
    strategy: Annotated[str, typer.Option(help='"auto", "single", "mirrored" or "multiworker".')] = "auto",
    recipe: str = "quick",
    epochs: int | None = None,
    batch_size: Annotated[int, typer.Option(help="Images per step, over all replicas.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/distributed"),
    seed: int = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds: a small network, one epoch.")] = False,
) -> None:
    start_backend(strategy)  # workers are joined before TensorFlow does anything else
    from kcnn.reports import write_report
    from kcnn.training import TrainConfig, train

    result = train(
        "convnet" if smoke else network,
        data,
        TrainConfig(recipe=recipe, strategy=strategy, batch_size=batch_size, seed=seed),
        out=out,
        epochs=1 if smoke else epochs,
        log=print,
    )
    if result.metrics:
        print(f"test accuracy {result.metrics['accuracy']:.2%}, {result.metrics['images_per_second']:.0f} images/s")
        print(f"report: {write_report(result.folder)}")


if __name__ == "__main__":
    script(main)
