"""Read the bytes of one picture from wherever a catalogue says it is.

`read_picture` is all a worker needs: it takes the specification and either bytes or a URI, and
returns bytes or raises a PictureError. Addresses, paths and answers are all taken as hostile.
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from vlm4rec_spark.catalog.addresses import shown
from vlm4rec_spark.catalog.images import Limits, PictureError
from vlm4rec_spark.catalog.web import WebReader

if TYPE_CHECKING:
    from vlm4rec_spark.config_inputs import ImagesConfig

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""Endings tried, in this order, for `images.kind: directory`; also in capitals."""


@dataclass(frozen=True)
class FetchSpec:
    """Where pictures are and what reading one may cost; small, frozen, travels to workers.

    `kind` is 'auto', 'bytes', 'path', 'url' or 'directory'; `base` is a folder, or the beginning
    of a URL, that relative names are joined to and that none may leave. Times are in seconds.
    """

    kind: str = "auto"
    base: str | None = None
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    timeout_s: float = 10.0
    retries: int = 2
    per_host: int = 4
    allow_private_addresses: bool = False

    @classmethod
    def of(cls, images: ImagesConfig) -> FetchSpec:
        """Return what the configuration says about reading pictures."""
        return cls(**{field.name: getattr(images, field.name) for field in fields(cls)})

    @property
    def limits(self) -> Limits:
        """Return the limits for decoding what was read."""
        return Limits(self.max_bytes, self.max_pixels)


def read_picture(spec: FetchSpec, source: str | bytes | None) -> bytes:
    """Return the raw bytes of a picture, given its URI or the bytes themselves.

    Raises:
        PictureError: with code no_picture, empty, missing, too_large, outside_base, bad_uri,
            unreadable_file, private_address, unreachable, timeout, http_status, bad_response or
            too_many_redirects.
    """
    if source is None:
        raise PictureError("no_picture", "The catalogue names no picture here.")
    if not isinstance(source, str):
        return _checked(bytes(source), spec)
    if not source.strip():
        raise PictureError("no_picture", "The catalogue names no picture here.")
    target = locate(spec, source.strip())
    if is_url(target):
        return _checked(_reader(spec).read(target), spec)
    return _checked(_read_file(target, spec.max_bytes), spec)


def locate(spec: FetchSpec, uri: str) -> str:
    """Return the absolute path, or the http(s) URL, that a URI of the catalogue stands for.

    Raises:
        PictureError: the URI does not fit `spec.kind`, or leaves `spec.base`.
    """
    if "\x00" in uri:
        raise PictureError("bad_uri", f"The picture's name holds a zero byte: '{shown(uri)}'.")
    if spec.kind == "bytes":
        raise PictureError(
            "bad_uri",
            f"Expected the bytes of a picture, saw the text '{shown(uri)}'; nothing was read. Set "
            "images.kind to path, url or auto, or map image to a column of bytes.",
        )
    base = _plain_path(spec.base) if spec.base else None
    if is_url(uri) or (base is not None and is_url(base)):
        if spec.kind in ("path", "directory"):
            raise PictureError(
                "bad_uri",
                f"Expected a path, saw the URL '{shown(uri)}'; set images.kind to url or auto.",
            )
        return uri if is_url(uri) or base is None else _joined_url(base, uri)
    if spec.kind == "url":
        raise PictureError(
            "bad_uri", f"Expected an http(s) URL, saw '{shown(uri)}'; set images.base or kind."
        )
    path = _joined_path(base, _plain_path(uri))
    return _with_suffix(path) if spec.kind == "directory" else path


def is_url(uri: str) -> bool:
    """Tell whether a URI is to be read over the web."""
    return uri[:8].lower().startswith(("http://", "https://"))


def _plain_path(uri: str) -> str:
    """Return the local path of a path, a file: or a dbfs: URI; URLs pass through."""
    scheme, colon, rest = uri.partition(":")
    if is_url(uri) or not colon or not scheme.isalnum() or len(scheme) == 1:
        return uri
    if scheme.lower() == "file":
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise PictureError("bad_uri", f"Not a file URI: '{shown(uri)}'.") from None
        if parts.netloc not in ("", "localhost"):
            raise PictureError("bad_uri", f"A file on another machine: '{shown(uri)}'.")
        path = unquote(parts.path)
        if "\x00" in path:
            raise PictureError("bad_uri", f"The name holds a zero byte: '{shown(uri)}'.")
        return path
    if scheme.lower() == "dbfs":
        path = "/" + rest.lstrip("/")
        return path if path.startswith("/Volumes/") else "/dbfs" + path
    if rest.startswith("//") or scheme.lower() == "data":
        raise PictureError(
            "bad_uri",
            f"Pictures are not read from '{scheme}:'; mount the store as a volume or folder, or "
            "load the files with Spark's binaryFile format into a column of bytes.",
        )
    return uri


def _joined_path(base: str | None, path: str) -> str:
    if base is None:
        return os.path.abspath(path)  # noqa: PTH100
    # By text alone, where pathlib would follow links: the normalised path is the one opened, so
    # a '..' in it cannot mean another folder behind a link.
    root = os.path.abspath(base)  # noqa: PTH100
    joined = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
    if joined != root and not joined.startswith(root.rstrip("/") + "/"):
        raise PictureError(
            "outside_base", f"'{shown(path)}' is not inside images.base; nothing was read."
        )
    return joined


def _joined_url(base: str, uri: str) -> str:
    root = base if base.endswith("/") else base + "/"
    try:
        joined = urljoin(root, uri)
        path, root_path = unquote(urlsplit(joined).path), unquote(urlsplit(root).path)
    except ValueError:
        raise PictureError("bad_uri", f"Not a URL: '{shown(uri)}'.") from None
    steps_out = ".." in PurePosixPath(path.replace("\\", "/")).parts
    if not joined.startswith(root) or not path.startswith(root_path) or steps_out:
        raise PictureError(
            "outside_base", f"'{shown(uri)}' is not inside images.base; nothing was fetched."
        )
    return joined


def _with_suffix(path: str) -> str:
    """Return the file of this name, or of this name with the first known ending that exists."""
    endings = ("", *SUFFIXES, *(suffix.upper() for suffix in SUFFIXES))
    names = (path + ending for ending in endings)
    return next((name for name in names if Path(name).is_file()), path)


def _read_file(path: str, max_bytes: int) -> bytes:
    """Read a plain file; a device or a pipe, which could block or never end, is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PictureError("unreadable_file", f"'{shown(path)}' is not a plain file.")
            return file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError("missing", f"There is no file '{shown(path)}'.") from None
    except IsADirectoryError:
        raise PictureError("unreadable_file", f"'{shown(path)}' is a folder.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise PictureError("unreadable_file", f"'{shown(path)}': {reason}.") from None


def _checked(raw: bytes, spec: FetchSpec) -> bytes:
    if not raw:
        raise PictureError("empty", "The picture has no bytes.")
    if len(raw) > spec.max_bytes:
        raise PictureError(
            "too_large", f"The picture is larger than images.max_bytes = {spec.max_bytes} bytes."
        )
    return raw


@functools.lru_cache(maxsize=8)
def _reader(spec: FetchSpec) -> WebReader:
    """Return this process's web reader: connections are kept for all rows it reads."""
    return WebReader(
        spec.max_bytes,
        timeout_s=spec.timeout_s,
        retries=spec.retries,
        per_host=spec.per_host,
        allow_private_addresses=spec.allow_private_addresses,
    )
