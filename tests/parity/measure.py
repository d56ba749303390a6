"""Measure how far logits of kcnn differ from those of the publishers: python -m tests.parity.measure [PATTERN ...]

Adds to differences.json beside itself what it lacks, or with --again all, one line for each network, publisher and
image size: first the pairs that have none, the cheapest first. Networks that record.py did not record are skipped,
unless --torch names a Python that has torch, torchvision and timm; presets likewise without --keras-hub, a Python that
has keras_hub. `make parity` writes docs/parity.md from the file.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow

import kcnn
from kcnn.atomic_io import replace_atomically
from kcnn.weights.hub import list_published_models
from tests.parity.compare import (
    APPLICATIONS,
    NETWORKS,
    build_both,
    compare_logits,
    compare_preset,
    compare_record,
    find_network,
)
from tests.parity.page import DIFFERENCES, list_mappings, load_differences
from tests.parity.presets import PRESETS, load_preset

LIMIT = 1e-4  # of what the page has: above it, an error would not show


@dataclass(frozen=True)
class Comparison:
    """One network, publisher and image size; `measure` takes a folder for scratch files."""

    network: str
    options: dict[str, Any]
    publisher: str
    model: str
    size: tuple[int, int]
    measure: Callable[[Path], float]

    @property
    def key(self) -> tuple[Any, ...]:
        return self.network, json.dumps(self.options), self.publisher, self.size


def list_comparisons(torch: str | None, keras_hub: str | None) -> Iterator[Comparison]:
    """Yield what can be measured: keras.applications, what is recorded, and the rest with a Python of its library."""
    for case in APPLICATIONS:
        nominal = kcnn.get_architecture(case.network).input_shape[:2]
        for size in (case.size, nominal):
            measure = partial(compare_application, case, size)
            yield Comparison(case.network, case.options, "keras", case.theirs.rpartition(".")[2], size, measure)
    recorded = set()
    for name, record in NETWORKS.items():
        (network, options), publisher, model = find_network(name), record["library"], record["model"]
        if not options:
            recorded.add((network, publisher))
        for output in record["outputs"]:
            size = tuple(output["size"])
            measure = partial(compare_recorded, network, options, record, output)
            yield Comparison(network, dict(options), publisher, model, size, measure)
    for name in PRESETS:
        network, options = list_published_models("keras_hub")[name]
        record = load_preset(name)
        for output in record["outputs"]:
            measure = partial(compare_preset, record, output)
            yield Comparison(network, dict(options), "keras_hub", name, tuple(output["size"]), measure)
    for name, (network, options) in list_published_models("keras_hub").items() if keras_hub else ():
        odd = (230, 251) if name.startswith("vgg") else (97, 131)  # KerasHub's VGG is not built for images below 224
        for size in (odd, kcnn.get_architecture(network).input_shape[:2]) if name not in PRESETS else ():
            measure = partial(compare_new_preset, keras_hub, name, size)
            yield Comparison(network, dict(options), "keras_hub", name, size, measure)
    if torch:
        for network, publisher, mapping in list_mappings():
            models = mapping.models or {network.partition(".")[0]: {}}
            if publisher in ("keras", "keras_hub") or (network, publisher) in recorded:
                continue
            # torchvision pools to 7x7 before the head that VGG's paper has, which is not built for smaller images
            odd = (230, 251) if network == "vgg16.features" else (97, 131)
            for model, options in list(models.items())[:1]:
                for size in (odd, kcnn.get_architecture(network).input_shape[:2]):
                    measure = partial(compare_new, torch, network, dict(options), publisher, model, size)
                    yield Comparison(network, dict(options), publisher, model, size, measure)


def compare_application(case: Any, size: tuple[int, int], folder: Path) -> float:
    return compare_logits(*build_both(case, size, folder), size)


def compare_recorded(
    network: str, options: Mapping[str, Any], record: dict[str, Any], output: dict[str, Any], folder: Path
) -> float:
    return compare_record(network, record, output, folder, options)[0]


def compare_new(
    torch: str, network: str, options: dict[str, Any], library: str, model: str, size: tuple[int, int], folder: Path
) -> float:
    """Record one network by another Python and compare."""
    record = record_elsewhere(torch, "record", (library, model), size, folder)
    return compare_record(network, record, record["outputs"][0], folder, options)[0]


def compare_new_preset(keras_hub: str, name: str, size: tuple[int, int], folder: Path) -> float:
    """Record one preset of KerasHub by another Python and compare."""
    record = record_elsewhere(keras_hub, "record_keras_hub", (name,), size, folder)
    return compare_preset(record, record["outputs"][0], folder)


def record_elsewhere(
    python: str, program: str, model: tuple[str, ...], size: tuple[int, int], folder: Path
) -> dict[str, Any]:
    """Return the record of one network at one size, which another Python writes."""
    file = folder / "record.json"
    command = [python, "-m", f"tests.parity.{program}", "one", str(file), *model, "x".join(map(str, size))]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return json.loads(file.read_text())


def estimate_cost(comparison: Comparison) -> float:
    """Return multiply-accumulates, and parameters as a share of the time to build."""
    shape = (*comparison.size, 3)
    summary = kcnn.summary(kcnn.trace(comparison.network, input_shape=shape, **comparison.options))
    return summary.macs + 50 * summary.params


def write_difference(comparison: Comparison, difference: float) -> None:
    """Put one measurement in place of the former one, if any, in the file."""
    rows = [row for row in load_differences() if row.key != comparison.key]
    versions = f"Keras {keras.__version__}, TensorFlow {tensorflow.__version__}"
    fields = ("network", "options", "publisher", "model", "size")
    row = {**{name: getattr(comparison, name) for name in fields}, "difference": difference, "versions": versions}
    lines = sorted(json.dumps(one) for one in [*({name: getattr(old, name) for name in row} for old in rows), row])
    with replace_atomically(DIFFERENCES) as temporary:
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"], help="networks, such as 'resnet*' (default: all)")
    parser.add_argument("--torch", help="a Python that has torch, torchvision and timm")
    parser.add_argument("--keras-hub", help="a Python that has keras_hub")
    parser.add_argument("--again", action="store_true", help="measure also what was measured before")
    parser.add_argument("--most", type=float, default=float("inf"), help="billions of multiply-accumulates")
    arguments = parser.parse_args()
    known = set() if arguments.again else {row.key for row in load_differences()}
    pairs = {(network, publisher) for network, _, publisher, _ in known}
    comparisons = [
        ((one.network, one.publisher) in pairs, cost, one)
        for one in list_comparisons(arguments.torch, arguments.keras_hub)
        if one.key not in known and any(fnmatchcase(one.network, pattern) for pattern in arguments.patterns)
        if (cost := estimate_cost(one)) < arguments.most * 1e9
    ]
    for number, (*_, one) in enumerate(sorted(comparisons, key=lambda comparison: comparison[:2]), 1):
        keras.utils.clear_session()
        gc.collect()
        title = f"{number}/{len(comparisons)} {one.network} {one.options or ''} {one.publisher} {one.size}"
        try:
            with tempfile.TemporaryDirectory() as folder:
                difference = one.measure(Path(folder))
        except (subprocess.CalledProcessError, ValueError, AssertionError) as error:
            reason = (getattr(error, "stderr", "") or str(error) or type(error).__name__).strip().splitlines()[-1]
            print(f"{title}: not measured: {reason}", file=sys.stderr, flush=True)
            continue
        if difference > LIMIT:
            print(f"{title}: not written: {difference:.1e}; is it rounding? See record.py", file=sys.stderr, flush=True)
            continue
        write_difference(one, difference)
        print(f"{title}: {difference:.1e}", flush=True)


if __name__ == "__main__":
    main()
