"""Outputs of other libraries for seeded weights, and the script that recorded them."""
