"""What other libraries make of seeded weights, recorded, and the script that recorded it."""
