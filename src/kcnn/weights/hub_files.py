"""Files of repositories on the Hugging Face Hub: download, with their checksums verified, and upload.

huggingface_hub downloads and caches them, with HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. The address
local-dir:FOLDER, and the path of the folder, mean a folder with the files of a repository.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from kcnn.run_folders import CONFIG, HUB_WEIGHTS, is_publication
from kcnn.weights.downloads import DownloadError

SCHEME, LOCAL = "hf://", "local-dir:"  # the latter as in timm
ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")


def is_hub_address(text: object) -> bool:
    """Return whether a network or weights are an address of the Hub, or of a folder with the files of a repository."""
    return isinstance(text, str) and text.startswith((SCHEME, LOCAL))


def find_address(name: object) -> str | None:
    """Return the address that a network or weights mean.

    Args:
        name: An address, or the path of a folder with the files of a repository; text is one where it has a slash.

    Returns:
        The address; None for anything else.
    """
    if is_hub_address(name):
        return str(name)
    if not isinstance(name, PathLike) and not (isinstance(name, str) and {"/", os.sep} & set(name)):
        return None
    return f"{LOCAL}{Path(name)}" if is_publication(name) else None


def split_address(address: str) -> tuple[str, str | None]:
    """Return "USER/NAME", or the folder, and the revision of an address; None for the newest.

    Raises:
        ValueError: It is no address.
    """
    if address.startswith(LOCAL):
        return address.removeprefix(LOCAL), None
    match = ADDRESS.fullmatch(address)
    if not match or ".." in address:
        raise ValueError(f"expected hf://USER/NAME or hf://USER/NAME@REVISION, got {address!r}")
    return match["repo"], match["revision"]


class UploadError(OSError):
    """Raised where the Hub does not take files."""


class MissingFileError(DownloadError):
    """Raised where a repository of the Hub exists and has no file of the name."""


def fetch_hub_file(address: str, file: str) -> tuple[Path, str]:
    """Return a file of a repository, from the cache of the Hub or downloaded, and the commit that it is of.

    Args:
        address: The address of the repository.
        file: The name of the file.

    Returns:
        The path in the cache, and the commit.

    Raises:
        ValueError: It is no address of the Hub.
        MissingFileError: The repository has no such file.
        DownloadError: The repository cannot be reached, does not exist, or asks for a token; or the file is damaged.
        ImportError: huggingface_hub is not installed.
    """
    repo, revision = split_address(address)
    if address.startswith(LOCAL):
        return _find_local(Path(repo), file), ""
    require_hub(address)
    import huggingface_hub
    from huggingface_hub import errors

    try:
        endpoint = os.environ.get("HF_ENDPOINT")  # which huggingface_hub reads only when it is imported
        path = huggingface_hub.hf_hub_download(repo, file, revision=revision, endpoint=endpoint, library_name="kcnn")
    except errors.LocalEntryNotFoundError as error:
        raise DownloadError(f"{address}: {file} is not cached, and {_explain_failure(error)}{_list_cached()}") from None
    except errors.EntryNotFoundError:
        raise MissingFileError(f"{address} has no file {file}") from None
    except errors.RevisionNotFoundError:
        raise DownloadError(f"{address}: {repo} has no revision {revision!r}; see its branches on the Hub") from None
    except errors.GatedRepoError:
        raise DownloadError(f"{address}: accept its terms on the Hub, and set HF_TOKEN to your token") from None
    except errors.RepositoryNotFoundError:
        raise DownloadError(f"{address}: there is no {repo} on the Hub, or it is private; then set HF_TOKEN") from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise DownloadError(f"{address}: {file} cannot be downloaded: {str(error).splitlines()[0]}") from None
    _verify(Path(path), address)
    return Path(path), Path(path).parent.name


def find_cached_file(address: str, files: Sequence[str]) -> Path | None:
    """Return the first of some files of a repository that is in the cache of the Hub, or in its folder.

    Args:
        address: The address of the repository.
        files: Names of files.

    Returns:
        The path; None where none is there. No server is asked.

    Raises:
        ValueError: It is no address of the Hub.
    """
    repo, revision = split_address(address)
    if address.startswith(LOCAL):
        return next((Path(repo) / file for file in files if (Path(repo) / file).is_file()), None)
    try:
        import huggingface_hub
    except ImportError:
        return None
    paths = (huggingface_hub.try_to_load_from_cache(repo, file, revision=revision) for file in files)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def list_cached_addresses() -> Iterator[str]:
    """Yield the addresses, with commits, of the models in the cache of the Hub that have a config and weights."""
    for repo in _scan_cache():
        for revision in sorted(repo.revisions, key=lambda one: one.last_modified, reverse=True):
            names = {file.file_name for file in revision.files}
            if CONFIG in names and names & {*HUB_WEIGHTS}:
                yield f"{SCHEME}{repo.repo_id}@{revision.commit_hash}"
                break  # the latest that is complete


def upload(folder: Path, repository: str, files: Sequence[str]) -> str:
    """Upload files to a repository of the Hub, in one commit; it is created where it does not exist.

    Args:
        folder: The folder of the files.
        repository: "USER/NAME".
        files: Their names.

    Returns:
        The URL of the repository.

    Raises:
        UploadError: The Hub cannot be reached, or refuses the files.
        ImportError: huggingface_hub is not installed.
    """
    require_hub(repository)
    import huggingface_hub
    from huggingface_hub import errors

    interface = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="kcnn")
    try:
        url = interface.create_repo(repository, exist_ok=True)
        interface.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=list(files), commit_message="Publish with kcnn"
        )
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:  # the last, of the storage of large files
        raise UploadError(
            f"cannot upload {folder} to {repository}: {_explain_refusal(error)}; the folder is complete, "
            f"so upload it later: hf upload {repository} {folder}"
        ) from None
    return str(url)


def _explain_refusal(error: Exception) -> str:
    """Why the Hub takes no files, in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"it refuses ({status}); set HF_TOKEN to a token that may write there"
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    return str(cause).strip().partition("\n")[0] or type(cause).__name__


def require_hub(address: str) -> None:
    """Raise ImportError where huggingface_hub is not installed.

    Args:
        address: What needs it.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise ImportError(f'{address} needs huggingface_hub: pip install "kcnn[hub]"') from None


def _find_local(folder: Path, file: str) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"folder not found: {folder}")
    if not (folder / file).is_file():
        raise MissingFileError(f"{folder} has no file {file}")
    return folder / file


def _verify(path: Path, address: str) -> None:
    """Compare a file with its checksum, by which the Hub's cache names it; one that differs is removed."""
    blob = path.resolve()
    content = blob.read_bytes()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        is_whole = hashlib.sha256(content).hexdigest() == blob.name
    elif COMMIT.fullmatch(blob.name):  # of small files, as git names them
        is_whole = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
    else:
        return  # a cache without links, as on some systems, does not keep checksums
    if not is_whole:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise DownloadError(f"{address}: {path.name} did not match its checksum, and was removed; run this again")


def _explain_failure(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return f"the Hub does not give it ({str(error.__cause__ or error).splitlines()[0]})"


def _scan_cache() -> list[Any]:
    """The repositories of models in the cache of the Hub, by name; none without huggingface_hub."""
    try:
        from huggingface_hub import constants, scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return []
    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos  # its default is that of when it was imported
        return sorted((repo for repo in repos if repo.repo_type == "model"), key=lambda repo: repo.repo_id)
    except CacheNotFound:
        return []


def _list_cached() -> str:
    """The repositories in the cache, for a message: with a revision where an address without one finds nothing."""
    cached = []
    for repo in _scan_cache():
        revisions = sorted(repo.refs) or sorted(one.commit_hash for one in repo.revisions)
        cached += sorted(repo.repo_id if one == "main" else f"{repo.repo_id}@{one}" for one in revisions)
    return f"; cached are {', '.join(cached[:10])}" if cached else "; nothing is cached"
