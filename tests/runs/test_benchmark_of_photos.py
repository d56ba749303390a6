"""The benchmark of photos lets every library read the same photos, and counts what each gives."""

from pathlib import Path

from benchmarks import sides
from benchmarks.sample_photos import write_photos
from kcnn.data import loading


def test_photos_are_counted_as_each_library_gives_them(tmp_path, monkeypatch):
    """kcnn once read 448 of 560 photos, since it holds some out for validation, and was told to have read 640."""
    monkeypatch.setattr(loading, "MEMORY_SHARE", loading.MEMORY_SHARE)
    monkeypatch.setattr(loading, "AHEAD", loading.AHEAD)
    given = []
    monkeypatch.setattr(sides, "repeat", lambda work, warm: given.append(work()))
    monkeypatch.setattr(sides, "ROWS", 8)
    folder = write_photos(tmp_path, (32, 24), count=64)
    for library in ("kcnn", "keras"):
        sides.photos(library, "none", str(folder))
    assert given == [56, 56] == [len(list(Path(folder, "train").rglob("*.jpg")))] * 2
