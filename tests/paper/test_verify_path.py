"""`kcnn verify --path`: a plugin in a source folder that is not installed, and errors of its pyproject.toml."""

import pytest

from kcnn.architectures import determinism
from tests.paper.test_plugins import GOOD


def test_cli_verify_path_checks_a_source_folder(tmp_path, command, monkeypatch):
    monkeypatch.setattr(determinism, "HASH_SEEDS", ())  # of processes, which other tests compare
    (tmp_path / "kcnn_draft.py").write_text(GOOD.replace("4 * 28", "4 * 2_9"))
    project = '[project]\nname = "kcnn-draft"\nversion = "0.1"\ndependencies = [{}]\n'
    points = '[project.entry-points."kcnn.architectures"]\ndraft = "kcnn_draft:net"\n'
    (tmp_path / "pyproject.toml").write_text(project.format("") + points)
    said = command("verify", "--path", str(tmp_path))
    assert said.returncode == 1
    assert "does not declare which version of kcnn it requires" in said.stderr
    assert "params are 5,112, declared 5,116" in said.stdout
    (tmp_path / "kcnn_draft.py").write_text(GOOD)
    (tmp_path / "pyproject.toml").write_text(project.format('"kcnn>=0.1"') + points)
    said = command("verify", "--path", str(tmp_path))
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 of 1 are as declared" in said.stdout
    said = command("verify", "nosuch", "--path", str(tmp_path))
    assert said.returncode == 2
    assert "kcnn-draft: unknown network 'nosuch'; choose from draft" in said.stderr
    (tmp_path / "pyproject.toml").write_text(project.format(""))
    assert "publishes no architecture" in command("verify", "--path", str(tmp_path)).stderr
    (tmp_path / "pyproject.toml").unlink()
    assert "has no pyproject.toml" in command("verify", "--path", str(tmp_path)).stderr


HEADER = '[project]\nname = "kcnn-draft"\nversion = "0.1"\ndependencies = ["kcnn>=0.1"]\n'


POINTS = '[project.entry-points."kcnn.architectures"]\ndraft = "kcnn_draft:net"\n'


ODD_PROJECTS = {  # what is odd: the file, and what the error says
    "not TOML": ("name = = 3", "is not valid TOML"),
    "not text": (b"\xff\xfe\x00", "is not valid TOML"),
    "nested": (f"x = {'[' * 5000}{']' * 5000}", "is not valid TOML"),
    "huge": ("#" * 2_000_000, "2,000,000 bytes; expected at most 1,048,576"),
    "no project": ("x = 1", "has no project.name"),
    "a number for the project": ("project = 5", "project must be a table, got 5"),
    "no name": (HEADER.replace('name = "kcnn-draft"\n', "") + POINTS, "has no project.name"),
    "a number for the name": (HEADER.replace('"kcnn-draft"', "5") + POINTS, "name must be a string, got 5"),
    "a path for the name": (HEADER.replace("kcnn-draft", "../escaped") + POINTS, "'../escaped' is invalid for 'name'"),
    "an absolute name": (HEADER.replace("kcnn-draft", "{root}/x") + POINTS, "is invalid for 'name'"),
    "the name of kcnn": (HEADER.replace('"kcnn-draft"', '"KCNN"') + POINTS, "'KCNN' is that of kcnn itself"),
    "two lines for the name": (HEADER.replace("kcnn-draft", "a\\nVersion: 3") + POINTS, "is invalid for 'name'"),
    "a path for the version": (HEADER.replace('"0.1"', '"1/../../x"') + POINTS, "is invalid for 'version'"),
    "no version": (HEADER.replace('version = "0.1"\n', "") + POINTS, 'neither a project.version nor "version" in'),
    "a text of requirements": (HEADER.replace('["kcnn>=0.1"]', '"kcnn"') + POINTS, "dependencies must be a list"),
    "numbers of requirements": (HEADER.replace('["kcnn>=0.1"]', "[1]") + POINTS, "must be a list of strings, got [1]"),
    "a bad requirement": (HEADER.replace("kcnn>=0.1", "???") + POINTS, "'???' is invalid for 'requires-dist'"),
    "no points": (HEADER, "publishes no architecture"),
    "an empty table": (HEADER + '[project.entry-points."kcnn.architectures"]', "publishes no architecture"),
    "a list of points": (HEADER + "entry-points = []", "entry-points must be a table, got []"),
    "a text of points": (HEADER + '[project.entry-points]\n"kcnn.architectures" = "x"', "must be a table, got 'x'"),
    "a number for a target": (HEADER + POINTS.replace('"kcnn_draft:net"', "3"), 'must be "module:attribute", got 3'),
    "a sentence for a target": (HEADER + POINTS.replace("kcnn_draft:net", "no module"), "got 'no module'"),
    "two lines for a target": (
        HEADER + POINTS.replace("kcnn_draft:net", "a:b\\nc = d:e"),
        'must be "module:attribute"',
    ),
    "an equals sign in a name": (HEADER + POINTS.replace("draft =", '"a = b:c" ='), "invalid network name 'a = b:c'"),
}


@pytest.mark.parametrize("odd", ODD_PROJECTS)
def test_cli_verify_path_refuses_an_odd_pyproject_in_one_line(tmp_path, command, odd):
    text, says = ODD_PROJECTS[odd]
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "kcnn_draft.py").write_text(GOOD)
    (folder / "pyproject.toml").write_bytes(
        text if isinstance(text, bytes) else text.replace("{root}", str(tmp_path)).encode()
    )
    result = command("verify", "--path", str(folder))
    assert result.returncode == 2
    assert str(folder / "pyproject.toml") in result.stderr
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["plugin"]
