"""Damage the bytes of a file in the ways that disks, downloads and strangers do."""

import random

HUGE = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00")  # as a count or an offset


def damage(content: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, overwrite, insert or delete bytes, or set a number to an absurd value."""
    damaged, at = bytearray(content), rng.randrange(len(content))
    match rng.randrange(7):
        case 0:
            damaged[at] ^= 1 << rng.randrange(8)
        case 1:
            del damaged[at:]
        case 2:
            damaged[at : at + 64] = rng.randbytes(64)
        case 3:
            damaged[at:at] = rng.randbytes(rng.randint(1, 100))
        case 4:
            del damaged[at : at + rng.randint(1, 200)]
        case 5:
            for _ in range(4):  # in the header
                damaged[rng.randrange(min(len(content), 2048))] = rng.randrange(256)
        case _:
            damaged[at : at + 4] = rng.choice(HUGE)
    return bytes(damaged)
