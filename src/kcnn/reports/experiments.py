"""The page of a folder with several runs, such as that of an experiment: figures, results, runs."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from kcnn.atomic_io import parse_json, write_text
from kcnn.graph.formatting import to_printable
from kcnn.reports import run_charts
from kcnn.reports.significance import MAX_RUNS, RunRow, compare_with_best, read_run
from kcnn.reports.templates import embed_image_bytes, render
from kcnn.run_folders import EXPERIMENT
from kcnn.training import run_directory
from kcnn.training.run_summaries import read_runs

ROWS = 100  # of a table, at most
MAX_NUMBERS = 10  # of a cell


def save_experiment(folder: Path, text: str) -> None:
    """Write the text of an experiment, its command and the versions of its libraries into its folder."""
    metadata = {
        "text": text.strip(),
        "command": run_directory.command_line(),
        "versions": run_directory.library_versions(),
    }
    write_text(folder / EXPERIMENT, json.dumps(metadata, indent=1))


def write_page(folder: Path) -> str:
    """Return the page.

    Raises:
        FileNotFoundError: The folder holds neither a finished run nor an experiment.
        ValueError: Every run in it is damaged.
    """
    metadata = _read_metadata(folder / EXPERIMENT)
    runs = list_rows(folder)
    if not metadata and not runs:
        raise FileNotFoundError(f"{folder} holds no finished run, and none of its folders does")
    if not metadata and all(row["problem"] for row in runs):
        raise ValueError(runs[0]["problem"])
    head, _, text = metadata.get("text", "").partition("\n\n")
    title, lead = _split_head(" ".join(head.split()))
    return render(
        "several.html",
        title=title or folder.resolve().name,
        lead=lead,
        text=text,
        images=[embed_image(path) for path in sorted(folder.glob("*.png"))],
        tables=[table for path in _list_results(folder, runs) for table in _make_tables(_read_json(path), path.stem)],
        runs=runs,
        **({} if metadata else _compare_rows(folder, runs)),
        command=metadata.get("command"),
        versions=metadata.get("versions", {}),
    )


def _compare_rows(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Charts and differences of the runs that can be read, where there are several; those of each data apart."""
    finished = [row for row in rows if row["run"]]
    if len(finished) < 2:
        return {}
    groups: dict[str, list[tuple[str, RunRow]]] = {}
    for row in finished:
        groups.setdefault(row["run"].data, []).append((to_printable(row["name"]), row["run"]))
    several = {data: runs for data, runs in groups.items() if len(runs) > 1}
    histories = {to_printable(row["name"]): run_directory.read_history(folder / row["name"]) for row in finished}
    comparisons = [
        compare_with_best([folder / row["name"] for row in finished if row["run"].data == data]) for data in several
    ]
    return {
        "costs": {
            data: [
                run_charts.render_cost(runs, "macs", "MACs per image"),
                run_charts.render_cost(runs, "params", "parameters"),
            ]
            for data, runs in several.items()
        },
        "learning": run_charts.render_learning_curves(histories),
        "differences": [
            replace(one, first=os.path.relpath(one.first, folder), second=os.path.relpath(one.second, folder))
            for comparison in comparisons
            for one in comparison.differences
        ],
        "notes": [note for comparison in comparisons for note in comparison.notes],
        "max_names": run_charts.MAX_NAMES,
        "baseline": any(len(runs) > MAX_RUNS for runs in several.values()),
    }


def list_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the finished runs below a folder as rows of a table, each with a link to its page, or with its problem."""
    rows = []
    for run_folder, run, problem in read_runs(folder, run_directory.METRICS, lambda path, request: read_run(path)):
        path = run_folder.relative_to(folder)
        has_page = (folder / path / "report.html").exists()
        link = quote(f"{path.as_posix()}/report.html") if has_page else ""
        rows.append({"name": path.as_posix(), "link": link, "run": run, "problem": problem})
    return rows


def embed_image(path: Path) -> dict[str, str]:
    """Return a figure as a data URL with its description. ValueError: the file is damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            description = image.info.get("Description", path.stem.replace("_", " "))
    except (OSError, SyntaxError) as error:  # Pillow's, of a PNG
        raise ValueError(f"{path} is damaged ({error}); make it again, or remove it") from None
    return {"source": embed_image_bytes(path.read_bytes(), "png"), "text": description, "file": path.name}


def _split_head(head: str) -> tuple[str, str]:
    """The first sentence, or its beginning up to a colon, and the rest."""
    match = re.match(r"(.+?)([?.:])(?:\s+|$)(.*)", head)
    if not match:
        return head, ""
    title, mark, rest = match.groups()
    return title + "?" * (mark == "?"), rest[:1].upper() + rest[1:]


def _list_results(folder: Path, runs: list[dict[str, Any]]) -> list[Path]:
    is_run = any(row["name"] == "." for row in runs)
    run_files = {run_directory.CONFIG, run_directory.METRICS} if is_run else set()
    return [path for path in sorted(folder.glob("*.json")) if path.name not in {EXPERIMENT, *run_files}]


def _read_metadata(path: Path) -> dict[str, Any]:
    """What `save_experiment` wrote; empty if it wrote nothing. ValueError: the file is damaged."""
    if not path.exists():
        return {}
    metadata, types = _read_json(path), {"text": str, "command": str, "versions": dict}
    if not isinstance(metadata, dict) or any(
        type(metadata.get(key)) is not expected for key, expected in types.items()
    ):
        raise ValueError(f"{path} is damaged; run the experiment again, or remove it")
    return metadata


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run the experiment again, or remove it") from None


def _make_tables(results: Any, title: str, keys: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Tables of the records in JSON, by name or in a list; lists of lists and long lists are left out."""
    values = list(results.values()) if isinstance(results, Mapping) else results if isinstance(results, list) else []
    are_records = bool(values) and all(isinstance(value, Mapping) for value in values)
    if not are_records or (isinstance(results, Mapping) and not _are_alike(values)):
        for name, value in results.items() if isinstance(results, Mapping) else ():
            yield from _make_tables(value, name, (*keys, name))
        return
    rows = [dict(_format_cells(value, "")) for value in values]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if columns:
        yield {
            "title": ", ".join(keys or [title]).replace("_", " "),
            "columns": columns,
            "names": list(results)[:ROWS] if isinstance(results, Mapping) else [],
            "rows": [[row.get(name, "") for name in columns] for row in rows[:ROWS]],
            "omitted": len(rows) - ROWS,
        }


def _are_alike(values: list[Mapping[str, Any]]) -> bool:
    """Whether mappings are rows of one table: they share a field, or none holds mappings alone."""
    shared = len(values) > 1 and bool(set.intersection(*map(set, values)))
    return shared or not any(value and all(isinstance(one, Mapping) for one in value.values()) for value in values)


def _format_cells(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        column = f"{prefix} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _format_cells(value, column)
        elif not isinstance(value, list):
            yield column, _format_value(value)
        elif value and len(value) <= MAX_NUMBERS and all(isinstance(number, int | float) for number in value):
            yield column, "  ".join(map(_format_value, value))


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
