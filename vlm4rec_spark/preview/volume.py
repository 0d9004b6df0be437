"""Files of Unity Catalog volumes, over the Files API where they are not mounted (Databricks Apps).

A cluster sees a volume as a folder; an App does not and asks for each file. Which API the App has
and how it is authenticated: docs.databricks.com/dev-tools/databricks-apps (uc-volumes, auth).
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.catalog.fetch import FetchSpec, is_url, locate
from vlm4rec_spark.catalog.images import PictureError
from vlm4rec_spark.errors import ConfigError, MissingExtraError
from vlm4rec_spark.publish.files import LATEST

if TYPE_CHECKING:
    from typing import BinaryIO

logger = logging.getLogger(__name__)
VOLUMES = Path("/Volumes")
PATIENCE_S = 60
"""Seconds the Files API is asked again while it is busy."""


def newest_copy(folder: str) -> Path:
    """Return a local folder with the newest copy below `publish.files.folder`.

    One in a volume that is not mounted is brought over first, into a temporary folder.

    Raises:
        ConfigError: there is none.
        MissingExtraError: it must be brought over and databricks-sdk is not installed.
    """
    latest = str(PurePosixPath(folder) / LATEST)
    try:
        run = json.loads(_bytes(latest))["run"]
        remote = str(PurePosixPath(folder) / run / "preview")
        if not _is_out_of_reach(remote):
            return _checked(Path(remote), folder)
        local = Path(tempfile.mkdtemp(prefix="vlm4rec-preview-"))
        n = _bring_over(remote, local)
    except (OSError, ValueError, KeyError) as error:  # the SDK's errors are OSErrors
        raise ConfigError(
            f"There is no copy in {folder} ({type(error).__name__}: {error}); "
            "set publish.files.folder to it and publish.files.preview to true, and publish."
        ) from error
    logger.info("preview: %d files of %s were brought over", n, remote)
    return _checked(local, folder)


def picture_source(spec: FetchSpec, uri: str | None) -> str | bytes | None:
    """Return what `read_picture` is to be given: the bytes, where only the Files API has them.

    Raises:
        PictureError: the picture is not there, or its name leaves `spec.base`.
    """
    target = locate(spec, uri.strip()) if uri else ""
    if not target or is_url(target) or not _is_out_of_reach(target):
        return uri
    try:
        return _bytes(target, spec.max_bytes + 1)
    except OSError as error:
        raise PictureError("missing", f"'{target}': {type(error).__name__}.") from None


def _is_out_of_reach(path: str) -> bool:
    return PurePosixPath(path).is_relative_to(VOLUMES) and not VOLUMES.is_dir()


def _checked(copy: Path, folder: str) -> Path:
    if not (copy / "items").is_dir():
        raise ConfigError(
            f"The newest run in {folder} has no copy; set publish.files.preview to true, and "
            "publish."
        )
    return copy


def _bytes(path: str, limit: int = -1) -> bytes:
    with _opened(path) if _is_out_of_reach(path) else Path(path).open("rb") as file:
        return file.read(limit)


def _bring_over(remote: str, local: Path) -> int:
    """Copy a folder of a volume; return the number of files."""
    n = 0
    local.mkdir(exist_ok=True)
    for entry in _files().list_directory_contents(remote):
        place = local / PurePosixPath(entry.path).name
        if entry.is_directory:
            n += _bring_over(entry.path, place)
            continue
        with _opened(entry.path) as source, place.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        n += 1
    return n


def _opened(path: str) -> BinaryIO:
    opened: BinaryIO = _files().download(path).contents
    return opened


@lru_cache(maxsize=1)
def _files() -> Any:
    """Return a client of the Files API; who asks comes from the environment, as in every App.

    The plain one: newer versions of `WorkspaceClient.files` fetch from the cloud's own store,
    which an App may not reach (databricks-sdk-py issue 1148).
    """
    try:
        from databricks.sdk.core import ApiClient, Config
        from databricks.sdk.service.files import FilesAPI
    except ImportError as error:
        raise MissingExtraError("databricks-sdk", "preview") from error
    try:
        client: Any = FilesAPI
        return client(ApiClient(Config(retry_timeout_seconds=PATIENCE_S)))
    except ValueError as error:  # the SDK's way to say that it knows no workspace
        raise ConfigError(
            f"{VOLUMES} is not mounted here, and no workspace is known to ask for it: {error}"
        ) from error
