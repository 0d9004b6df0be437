"""Places that the configuration names: folders of this machine, and addresses of a store."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_VOLUME = re.compile(r"dbfs:/+(?=Volumes/)", re.IGNORECASE)


def has_scheme(place: str) -> bool:
    """Tell whether a place is an address that Spark resolves, not a folder of this machine.

    >>> has_scheme("s3://bucket/recs"), has_scheme("dbfs:/recs"), has_scheme("build/recs")
    (True, True, False)
    """
    return _SCHEME.match(place) is not None


def local_folder(place: str) -> str:
    """Return a place as the folder it is mounted at.

    Raises:
        ValueError: it is an address, whose files no process can open or map into memory.

    >>> local_folder("dbfs:/Volumes/main/recs/index")
    '/Volumes/main/recs/index'
    """
    folder = _VOLUME.sub("/", place)
    if has_scheme(folder):
        raise ValueError(
            f"'{place}' is an address of a store and no folder; give a path that every worker sees "
            "as a folder, such as /Volumes/catalog/schema/volume"
        )
    return folder
