"""A trained network where it is used: a plain model for inference, files for phones and servers."""

from kcnn.deploy.plain import plain as deploy

__all__ = ["deploy"]
