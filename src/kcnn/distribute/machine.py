"""CPU cores of this machine, and GPUs that NVIDIA's driver sees. No TensorFlow here."""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from kcnn.parallel import count_cores

UNNAMED = "NVIDIA GPU"
TIMEOUT = 10.0  # seconds for nvidia-smi, which hangs where a driver does
ROOT = Path("/")


def describe_cpu(*details: str) -> str:
    """Return the CPU as text: "CPU (2 cores, oneDNN)".

    Args:
        *details: What else stands in parentheses.
    """
    cores = count_cores()
    return f"CPU ({', '.join([f'{cores} core' + 's' * (cores != 1), *details])})"


def list_cpu_features(root: Path = ROOT) -> frozenset[str]:
    """Return the instruction sets of the CPU by the names of Linux, such as "avx2" and "avx512_bf16".

    Args:
        root: Folder of proc.

    Returns:
        The names; none on other systems and processors.
    """
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def list_driver_gpus(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> list[str]:
    """Return the names of the GPUs of this machine that NVIDIA's driver sees, in its order.

    Args:
        environment: Environment variables; PATH leads to nvidia-smi.
        root: Folder of proc and dev.

    Returns:
        Names of nvidia-smi, or of /proc/driver/nvidia/gpus; "NVIDIA GPU" for each of /dev/nvidia0, ... without.
    """
    names = _run_nvidia_smi(environment)
    if names:
        return names
    texts = [path.read_text(errors="replace") for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))]
    if texts:
        models = [re.search(r"^Model:\s*(.+)$", text, re.MULTILINE) for text in texts]
        return [model[1].strip() if model else UNNAMED for model in models]
    return [UNNAMED] * len(_list_device_files(root))


def can_open_gpus(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> bool:
    """Return whether this process can open GPUs; a container sees those of its host in /proc only.

    Args:
        environment: Environment variables; PATH leads to nvidia-smi.
        root: Folder of dev.
    """
    return bool(_list_device_files(root) or _run_nvidia_smi(environment))


def list_visible_gpus(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> list[str]:
    """Return the GPUs that CUDA may use, by its names: those of CUDA_VISIBLE_DEVICES, or "0", "1", ...

    Like CUDA, it ignores all names from the first on that is of no GPU.

    Args:
        environment: Environment variables; PATH leads to nvidia-smi.
        root: Folder of proc and dev.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(len(_run_nvidia_smi(environment)))]
    numbers = {str(number) for number in range(len(list_driver_gpus(environment, root)))}

    def is_gpu(name: str) -> bool:
        is_number = name in numbers if numbers else name.isdecimal()
        return is_number or name.startswith(("GPU-", "MIG-"))

    return list(itertools.takewhile(is_gpu, (name.strip() for name in visible.split(","))))


def summarize_names(names: Sequence[str]) -> str:
    """Return names with their numbers: "2 x NVIDIA H100, NVIDIA T4"."""
    counts = {name: names.count(name) for name in names}
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())


def _run_nvidia_smi(environment: Mapping[str, str]) -> list[str]:
    """The names of the GPUs that nvidia-smi lists; none without the program, or where it fails."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH", ""))
    if program is None:
        return []
    try:
        result = subprocess.run(
            [program, "--list-gpus"], capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID: .*\))?$", result.stdout, re.MULTILINE)


def _list_device_files(root: Path) -> list[Path]:
    return [path for path in root.glob("dev/nvidia*") if path.name.removeprefix("nvidia").isdigit()]
