"""kcnn's own architectures, published through the same entry points as anybody's."""
