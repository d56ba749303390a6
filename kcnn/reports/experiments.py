"""The page of a folder with several runs, such as an experiment leaves: pictures, numbers, runs."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from kcnn.atomic_io import write_text
from kcnn.reports.significance import RunRow, read_run
from kcnn.reports.templates import embed_png, render
from kcnn.training import run_directory

EXPERIMENT = "experiment.json"
ROWS = 100  # of a table, at most
FEW = 10  # numbers of one cell


def save_experiment(folder: Path, text: str) -> None:
    """Leave beside what an experiment came to what it asked, by what command and on what."""
    told = {"text": text.strip(), "command": run_directory.command_line(), "versions": run_directory.library_versions()}
    write_text(folder / EXPERIMENT, json.dumps(told, indent=1))


def write_page(folder: Path) -> str:
    """FileNotFoundError where the folder holds neither a finished run nor an experiment."""
    told = _note(folder / EXPERIMENT)
    sides = find_runs(folder)
    if not told and not sides:
        raise FileNotFoundError(f"{folder} holds no finished run, and none of its folders does")
    head, _, text = told.get("text", "").partition("\n\n")
    question, rest = _split(" ".join(head.split()))
    return render(
        "several.html",
        title=question or folder.resolve().name,
        lead=rest,
        text=text,
        images=[embed_image(path) for path in sorted(folder.glob("*.png"))],
        tables=[table for path in _numbers(folder) for table in _tables(_read(path), path.stem)],
        runs=list_rows(sides, folder),
        command=told.get("command"),
        versions=told.get("versions", {}),
    )


def find_runs(folder: Path) -> list[RunRow]:
    """The finished runs below a folder, by path."""
    return [
        read_run(path.parent)
        for path in sorted(folder.rglob(run_directory.METRICS))
        if run_directory.read_config(path.parent)
    ]


def list_rows(sides: list[RunRow], folder: Path) -> list[dict[str, Any]]:
    """Runs as rows of a table, each with its own page where there is one."""
    rows = []
    for one in sides:
        own = Path(one.folder).relative_to(folder)
        there = (folder / own / "report.html").exists()
        link = quote(f"{own.as_posix()}/report.html") if there else ""
        rows.append({"name": own.as_posix(), "link": link, "side": one})
    return rows


def embed_image(path: Path) -> dict[str, str]:
    """A picture with the words that its file says of it. ValueError where it is damaged."""
    try:
        with Image.open(path) as opened:
            opened.load()
            said = opened.info.get("Description", path.stem.replace("_", " "))
    except (OSError, SyntaxError) as error:  # Pillow's, of a PNG
        raise ValueError(f"{path} is damaged ({error}); make it again, or remove it") from None
    return {"source": embed_png(path.read_bytes(), "png"), "text": said}


def _split(head: str) -> tuple[str, str]:
    """A question, or what else a first sentence begins with, and the rest of it."""
    match = re.match(r"(.+?)([?.:])(?:\s+|$)(.*)", head)
    if not match:
        return head, ""
    name, mark, rest = match.groups()
    return name + "?" * (mark == "?"), rest[:1].upper() + rest[1:]


def _numbers(folder: Path) -> list[Path]:
    of_a_run = {run_directory.CONFIG, run_directory.METRICS} if run_directory.read_config(folder) else set()
    return [path for path in sorted(folder.glob("*.json")) if path.name not in {EXPERIMENT, *of_a_run}]


def _note(path: Path) -> dict[str, Any]:
    """What `noted` has left; nothing where there is none. ValueError where it is damaged."""
    if not path.exists():
        return {}
    told, kinds = _read(path), {"text": str, "command": str, "versions": dict}
    if not isinstance(told, dict) or any(type(told.get(name)) is not kind for name, kind in kinds.items()):
        raise ValueError(f"{path} is damaged; run the experiment again, or remove it")
    return told


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run the experiment again, or remove it") from None


def _tables(told: Any, title: str, above: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Tables of what is one in JSON, records by name or in a list; lists of lists and long ones are left out."""
    values = list(told.values()) if isinstance(told, Mapping) else told if isinstance(told, list) else []
    whole = bool(values) and all(isinstance(value, Mapping) for value in values)
    if not whole or (isinstance(told, Mapping) and not _alike(values)):
        for name, value in told.items() if isinstance(told, Mapping) else ():
            yield from _tables(value, name, (*above, name))
        return
    rows = [dict(_cells(value, "")) for value in values]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if columns:
        yield {
            "title": ", ".join(above or [title]).replace("_", " "),
            "columns": columns,
            "names": list(told)[:ROWS] if isinstance(told, Mapping) else [],
            "rows": [[row.get(name, "") for name in columns] for row in rows[:ROWS]],
            "left": len(rows) - ROWS,
        }


def _alike(values: list[Mapping[str, Any]]) -> bool:
    """Whether mappings are rows of one table: they share a field, or none holds mappings alone."""
    shared = len(values) > 1 and bool(set.intersection(*map(set, values)))
    return shared or not any(value and all(isinstance(one, Mapping) for one in value.values()) for value in values)


def _cells(row: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        words = f"{before} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _cells(value, words)
        elif not isinstance(value, list):
            yield words, _spoken(value)
        elif value and len(value) <= FEW and all(isinstance(one, int | float) for one in value):
            yield words, "  ".join(map(_spoken, value))


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
