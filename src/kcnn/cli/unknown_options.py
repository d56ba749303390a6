"""Answer options that other libraries have, or that are misspelled, with kcnn's own in one line."""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand

from kcnn.cli.console import UsageError
from kcnn.graph.names import find_closest
from kcnn.training.recipes import list_options

NETWORK = "the network as the first argument"
SYNONYMS = {  # options of other libraries' scripts: those of kcnn, of which the first that exists is meant
    "amp": ("--precision mixed_float16",),
    "arch": ("--network NAME", NETWORK),
    "aug": ("--recipe-option FIELD=VALUE",),
    "augment": ("--recipe-option FIELD=VALUE",),
    "augmentation": ("--recipe-option FIELD=VALUE",),
    "backbone": ("--network NAME", NETWORK),
    "batch": ("--batch-size",),
    "bs": ("--batch-size",),
    "checkpoint": ("--weights FILE",),
    "conf": ("--threshold",),
    "data-dir": ("--data",),
    "data-path": ("--data",),
    "dataset": ("--data",),
    "drop": ("--model-option dropout=RATE",),
    "dropout": ("--model-option dropout=RATE",),
    "drop-path": ("--model-option drop_path=RATE",),
    "early-stopping": ("--recipe-option patience=EPOCHS",),
    "freeze": ("--unfreeze STAGES",),
    "fp16": ("--precision mixed_float16",),
    "half": ("--precision mixed_float16",),
    "image-size": ("--input-size",),
    "img-size": ("--input-size",),
    "imgsz": ("--input-size",),
    "in-chans": ("--input-size ROWSxCOLUMNSxCHANNELS",),
    "initial-checkpoint": ("--weights FILE",),
    "input": ("--input-size",),
    "int8": ("--format litert-int8",),
    "model": ("--network NAME", NETWORK),
    "model-ema": ("--recipe-option ema_momentum=0.999",),
    "momentum": ("--recipe-option momentum=VALUE",),
    "name": ("--out FOLDER",),
    "opt": ("--recipe-option optimizer=NAME",),
    "optim": ("--recipe-option optimizer=NAME",),
    "output": ("--out FOLDER", "--csv FILE"),
    "output-dir": ("--out FOLDER",),
    "pretrained": ("--weights imagenet",),
    "quantize": ("--format litert-int8",),
    "project": ("--out FOLDER",),
    "save-dir": ("--out FOLDER",),
    "sched": ("--recipe-option schedule=NAME",),
    "size": ("--input-size",),
    "smoothing": ("--recipe-option label_smoothing=VALUE",),
    "wd": ("--recipe-option weight_decay=VALUE",),
    "width": ("--model-option width=VALUE",),
}
VALIDATION = "a folder val/ or valid/ beside train/ is the validation split; without it one is taken from train"
FINE_TUNING = "kcnn transfer trains a new head on frozen layers, and then the last stages with it"
FACTS = {  # options for what kcnn decides itself
    "device": "the GPUs are used where TensorFlow sees them; set CUDA_VISIBLE_DEVICES= (empty) to use the CPU",
    "gpu": "the GPUs are used where TensorFlow sees them; set CUDA_VISIBLE_DEVICES to choose some",
    "num-classes": "the classes are those of the data",
    "num-workers": "images are read by as many threads as the machine has cores",
    "resume": "run the same command again to resume",
    "val-split": VALIDATION,
    "workers": "images are read by as many threads as the machine has cores",
}
FACTS |= {"val": VALIDATION, "validation-split": VALIDATION}
FACTS |= {"finetune": FINE_TUNING, "fine-tune": FINE_TUNING, "freeze": FINE_TUNING, "cuda": FACTS["gpu"]}
FACTS |= {"classes": FACTS["num-classes"], "gpus": FACTS["gpu"], "nb-classes": FACTS["num-classes"]}


class Command(TyperCommand):
    """A command that answers an unknown option with the one that was probably meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, as Typer does."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # Typer has its own copy of click's classes, at another place in each version
            option = getattr(error, "option_name", None)
            if option is None or type(error).__name__ != "NoSuchOption":
                raise
            raise UsageError(f"{ctx.command_path} has no option {option}{_answer(option, self.params)}") from None


def _answer(option: str, params: Iterable[Any]) -> str:
    """The end of the message about an unknown option of a command with these parameters."""
    params = list(params)
    options = [one for param in params if param.param_type_name == "option" for one in param.opts if one[:2] == "--"]
    has_network = any(param.param_type_name == "argument" and param.name in ("name", "network") for param in params)
    word = option.lstrip("-").lower().replace("_", "-")
    if f"--{word}" in options:  # written with underscores or capitals
        return f"; write --{word}"
    for candidate in SYNONYMS.get(word, ()):
        if candidate.split()[0] in options:
            return f"; write {candidate}"
        if candidate == NETWORK and has_network:
            return f"; write {NETWORK}"
    if word in FACTS and "--data" in options:
        return f": {FACTS[word]}"
    field = word.replace("-", "_")
    if "--recipe-option" in options and field in list_options():
        return f"; write --recipe-option {field}=VALUE"
    close = find_closest(f"--{word}", options)
    return f". Did you mean {close}?" if close else f"; choose from {', '.join(options)}"
