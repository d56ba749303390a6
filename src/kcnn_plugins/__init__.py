"""Architectures of kcnn, published through the same entry points as those of other plugins."""
