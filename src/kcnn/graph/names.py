"""Names that users type: the error for an unknown one, and the name that was probably meant."""

from collections.abc import Iterable
from difflib import SequenceMatcher

MAX_CHOICES = 12  # names to list where none is close
LEAST_SIMILARITY = 0.6  # of a suggestion, as difflib measures it
SYNONYMS = {  # words of other libraries and the command line: kcnn's names, of which the first known one is meant
    "alpha": ("width",),
    "arch": ("network",),
    "aux_logits": ("aux",),
    "average": ("avg",),
    "batch": ("batch_size",),
    "bf16": ("mixed_bfloat16",),
    "bfloat16": ("mixed_bfloat16",),
    "bs": ("batch_size",),
    "checkpoint_path": ("weights",),
    "classifier_activation": ("activation",),
    "drop": ("dropout",),
    "drop_path_rate": ("drop_path",),
    "drop_rate": ("dropout",),
    "dropout_rate": ("dropout",),
    "features_only": ("outputs",),
    "float16": ("mixed_float16",),
    "fp16": ("mixed_float16",),
    "fp32": ("float32",),
    "global_pool": ("pooling",),
    "image_size": ("input_shape",),
    "img_size": ("input_shape",),
    "in_chans": ("input_shape",),
    "include_top": ("top",),
    "input_size": ("input_shape",),
    "input_tensor": ("input_shape",),
    "lr": ("learning_rate",),
    "model": ("network",),
    "model_name": ("network",),
    "n_classes": ("classes",),
    "num_classes": ("classes",),
    "num_epochs": ("epochs",),
    "opt": ("optimizer",),
    "out_indices": ("outputs",),
    "pretrained": ("weights",),
    "return_nodes": ("outputs",),
    "width_mult": ("width",),
    "width_multiplier": ("width",),
    "wd": ("weight_decay",),
}


class UnknownNameError(LookupError, ValueError):
    """Raised for an unknown name: of a network, variant, option, layer, attribute, recipe or file."""


def unknown(
    kind: str, name: object, known: Iterable[str], where: str = "", max_choices: int = MAX_CHOICES
) -> UnknownNameError:
    """Return the error for an unknown name, with the name that was probably meant.

    Args:
        kind: What the name stands for, such as "recipe".
        name: The unknown name.
        known: All known names.
        where: What has no such name, such as "mobilenet_v2"; it opens the message.
        max_choices: Names to list where none is close.

    Returns:
        The error, to be raised by the caller.
    """
    prefix = f"{where}: " if where else ""
    return UnknownNameError(f"{prefix}unknown {kind} {name!r}{describe_choices(name, known, max_choices)}")


def unknown_layer(pattern: str, layers: Iterable[str], where: str = "") -> UnknownNameError:
    """Return the error for a name or glob that no layer matches.

    Args:
        pattern: The name or glob.
        layers: Names of all layers.
        where: The network; it opens the message.

    Returns:
        The error, to be raised by the caller.
    """
    prefix = f"{where}: " if where else ""
    return UnknownNameError(f"{prefix}no layer matches {pattern!r}{describe_choices(pattern, layers)}")


def describe_choices(name: object, known: Iterable[str], max_choices: int = MAX_CHOICES) -> str:
    """Return the end of a message about an unknown name: the closest known name, or else all of them."""
    names = list(known)
    close = find_closest(str(name), names)
    if close is not None:
        return f". Did you mean {close!r}?"
    if not names:
        return "; there are none"
    more = f" and {len(names) - max_choices} more" if len(names) > max_choices else ""
    return f"; choose from {', '.join(names[:max_choices])}{more}"


def find_closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant; None where none is close.

    A name that differs in case or punctuation alone comes first, then a synonym, then the most similar name; of
    equally similar ones, that with the same letters in another order.
    """
    names = list(known)
    folded = _fold(name)
    for one in names:
        if _fold(one) == folded:
            return one
    for one in SYNONYMS.get(folded, ()):
        if one in names:
            return one
    letters = sorted(folded)
    best, most = None, (LEAST_SIMILARITY, 0.0)
    for one in names:
        other = _fold(one)
        similarity = SequenceMatcher(None, folded, other).ratio(), SequenceMatcher(None, letters, sorted(other)).ratio()
        if similarity > most:
            best, most = one, similarity
    return best


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
