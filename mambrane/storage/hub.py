"""Folders of the Hugging Face hub: fetched by name, and published. The library is imported when it is needed.

NAME = OWNER/MODEL or hf:OWNER/MODEL, either with @REVISION behind it
"""

from pathlib import Path
from types import ModuleType

from mambrane.core.errors import UserError
from mambrane.core.optional_package import optional_package

SMALL_FILES = ("*.json", "*.txt", "*.model")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Files of weights, best first: only the first kind that a repository has is fetched."""


def is_hub_name(name: str) -> bool:
    """Return whether a name means the hub: it says so, or is OWNER/MODEL and no folder here."""
    if name.startswith("hf:"):
        return True
    return not Path(name).exists() and name.count("/") == 1 and not name.startswith((".", "/", "~"))


def fetch_folder(name: str, *, only_settings: bool = False) -> Path:
    """Return the local copy of a repository of the hub, fetched into the hub's own cache unless it is there.

    Raises:
        UserError: the library is missing, or the repository cannot be had.
    """
    repository, _, revision = name.removeprefix("hf:").partition("@")
    hub = _hub_library(name)
    try:
        files = hub.HfApi().list_repo_files(repository, revision=revision or None)
    # Without a connection, what was fetched before will do.
    except Exception:
        files = None
    kinds = [kind for kind in WEIGHTS if files is None or any(Path(file).match(kind) for file in files)]
    # Of files that nobody could list, each kind is tried: it is unknown which one was fetched.
    tried = [""] if only_settings or not kinds else kinds[: 1 if files is not None else None]
    folder: Path | None = None
    failure: Exception | None = None
    for kind in tried:
        patterns = [*SMALL_FILES, *([kind] if kind else ())]
        try:
            folder = Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
        # The library raises some twenty kinds for a wrong name, a closed door and a missing network.
        except Exception as error:
            failure = failure or error
            continue
        if not kind or any(folder.glob(kind)):
            return folder
    if folder is not None:
        return folder
    raise UserError(
        f"{name}: cannot be fetched ({type(failure).__name__}: {failure})",
        wanted="a folder that exists, or an open repository of the Hugging Face hub and a connection to it",
        way_out="check the name and the network, or download the files and name their folder",
    ) from failure


def publish_folder(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload all files of a folder to a repository of the hub, which is made where there is none; return its address.

    Raises:
        UserError: the library is missing, or the hub refuses, as it does nobody who has not logged in.
    """
    hub = _hub_library(name)
    repository = name.removeprefix("hf:")
    try:
        api = hub.HfApi()
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(folder))
    except Exception as error:
        raise UserError(
            f"{name}: cannot be published ({type(error).__name__}: {error})",
            wanted="a name OWNER/MODEL that you may write to, and a connection to the hub",
            way_out="log in with `hf auth login`, check the name, or keep the folder for yourself: --to folder",
        ) from error
    return str(address)


def _hub_library(name: str) -> ModuleType:
    return optional_package("huggingface_hub", extra="hub", asked_for=name, otherwise="a local folder")
