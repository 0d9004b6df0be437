"""A model's weights on a disk of this node, where their folder is on the network."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

MOUNTS = Path("/proc/mounts")
NETWORK = frozenset(("9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"))
"""File systems of a network, as the kernel names them; fuse stands for volumes and buckets."""


def on_this_node(model: str, root: Path) -> str:
    """Return the model, or its copy below `root` where its folder is on a network's disk.

    A server reads its weights at each start, page by page: from a volume that takes minutes, for
    each node and each start. One copy serves all later starts of the node. Where there is no room
    for it, the folder is used as it is.

    Args:
        model: a folder, or a name on the hub, which the hub's own cache keeps.
        root: folder on a disk of this node; made where it is missing.
    """
    folder = Path(model)
    if not folder.is_dir() or not is_network(folder):
        return model
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [(str(f.relative_to(folder)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    name = hashlib.sha256(repr([str(folder.resolve()), facts]).encode()).hexdigest()[:16]
    copy, draft = root / name, root / f"{name}.new"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two servers of one node may start together
        if copy.is_dir():
            return str(copy)
        size = sum(size for _, size, _ in facts)
        if shutil.disk_usage(root).free < 2 * size:
            logger.warning("No room for a copy of %s in %s: its weights stay there.", model, root)
            return model
        logger.info("Copying %s, %.1f GB, to %s", model, size / 1e9, copy)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(folder, draft)
        draft.rename(copy)
    return str(copy)


def is_network(folder: Path) -> bool:
    """Tell whether a folder is on a network's file system, by the mounts of this machine."""
    if not MOUNTS.is_file():
        return False
    where = f"{folder.resolve()}{os.sep}"
    kinds = {}
    for line in MOUNTS.read_text("utf-8", "replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        # The kernel writes a space in a name in octal.
        point = point.replace("\\040", " ").rstrip(os.sep) + os.sep
        if where.startswith(point):
            kinds[len(point)] = kind
    nearest = kinds[max(kinds)] if kinds else ""
    # The root of a rootless container is a local disk behind fuse-overlayfs.
    is_fuse = nearest.partition(".")[0] == "fuse" and "overlay" not in nearest
    return nearest in NETWORK or is_fuse
