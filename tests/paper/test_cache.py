"""The folder in which kcnn keeps downloads."""

import sys

from kcnn.cache import cache_folder


def test_cache_folder_is_that_of_the_operating_system(monkeypatch, tmp_path):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("KCNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "kcnn"
    assert cache_folder().name in ("kcnn", "Cache")
