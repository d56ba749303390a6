"""Damage the bytes of a file in the ways that disks, downloads and strangers do, and fuzz what reads them."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HUGE = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00")  # as a count or an offset
ODD = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    "",
    "x",
    "\ud800",
    "../x",
    "9" * 400,
    [],
    [[]],
    {},
    {"x": 1},
    0.5,
)


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


def damage_json(content: bytes, rng: random.Random) -> bytes:
    """Replace or remove one value of a JSON text somewhere."""
    values = json.loads(content)
    places: list[tuple[Any, Any]] = []
    stack: list[Any] = [values]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        places += [(holder, key) for key in keys]
        stack += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    holder, key = rng.choice(places)
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice(ODD)
    return json.dumps(values).encode()


def peak_memory() -> int:
    """Return the most memory that this process had, in MB; 0 where the system does not say."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM"))
    except OSError:
        return 0


def fuzz_in_processes(module: str, count: int, folder: Path) -> None:
    """Call module.fuzz(count, seed, folder) in a process of its own, as a library that crashes would end the tests.

    Args:
        module: Name of a module of tests.
        count: Number of damaged files for a seed. There is one seed, or KCNN_FUZZ of them (`make fuzz`).
        folder: A folder for its files.
    """
    call = f"fuzz({count}, int(sys.argv[1]), Path(sys.argv[2]))"
    code = f"import sys; from pathlib import Path; from {module} import fuzz; {call}"
    failures = []
    for seed in range(int(os.environ.get("KCNN_FUZZ", 1))):
        with tempfile.TemporaryDirectory(dir=folder) as own:  # what it prints is shown by pytest -s, as it comes
            done = subprocess.run(
                [sys.executable, "-c", code, str(seed), own], stderr=subprocess.PIPE, text=True, errors="replace",
                timeout=1800, check=False,
            )  # fmt: skip
        if done.returncode:
            failures.append(f"seed {seed} ended with {done.returncode}: {done.stderr[-9000:]}")
    assert not failures, "\n\n".join(failures)
