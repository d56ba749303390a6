"""A trained network where it is used: a plain model for inference, files for phones and servers.

Each word is imported when it is first used: an exported file runs without Keras.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.deploy.plain import optimize_for_inference

__all__ = ["optimize_for_inference"]

__getattr__, __dir__ = words(__name__, {"plain": ("deploy",)}, globals())
