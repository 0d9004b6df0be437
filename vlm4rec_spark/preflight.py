"""Checks a machine before anything is installed: system, Python, Java, memory, disk, Maven cache.

`make` runs this file with the system's own Python, before the virtual environment exists. It
therefore uses the standard library only and syntax that old Pythons read, so that a Python that
is too old gets a sentence and not a traceback.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional, Tuple

PYTHON_MIN = (3, 10)
PYTHON_MAX = (3, 12)
JAVA_VERSIONS = (17, 21)
GB = 1_000_000_000
MEMORY_BYTES = 12 * GB
DISK_BYTES_TO_INSTALL = 15 * GB
DISK_BYTES_TO_RUN = 3 * GB

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# What Spark fetches for Delta; a POM without its jar makes Ivy stop with "download failed".
_MAVEN_GROUPS = ("io/delta", "org/antlr/antlr4-runtime")


def check_system(system: str, machine: str) -> Optional[str]:
    """Tells whether the locked wheels exist for this system.

    Args:
        system: As `platform.system()` says it.
        machine: As `platform.machine()` says it.

    Returns:
        One sentence that says what to do, or None when all is well.
    """
    if (system, machine) == ("Linux", "x86_64"):
        return None
    return (
        f"The locked packages are built for Linux x86-64 and this is {system} {machine}: "
        "use such a machine or container."
    )


def check_python(version: Tuple[int, int], *, has_venv: bool) -> Optional[str]:
    """Tells whether this Python can make the virtual environment.

    Args:
        version: Major and minor version.
        has_venv: Whether `python -m venv` can bring pip along.

    Returns:
        One sentence that says what to do, or None when all is well.
    """
    if not PYTHON_MIN <= version <= PYTHON_MAX:
        return (
            f"Python 3.10, 3.11 or 3.12 is needed and this is {version[0]}.{version[1]}: "
            "name another one, as in `make PYTHON=python3.12 demo`."
        )
    if not has_venv:
        return (
            "This Python cannot make virtual environments: install its venv package "
            f"(on Debian or Ubuntu `apt-get install python{version[0]}.{version[1]}-venv`)."
        )
    return None


def java_major(version_text: str) -> Optional[int]:
    """Reads the major version out of what `java -version` prints.

    Args:
        version_text: The command's output; Java up to 8 calls itself 1.8.

    Returns:
        The major version, or None when the text holds none.
    """
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return int(found.group(1)) if found else None


def find_java(environment: Dict[str, str]) -> Optional[str]:
    """Finds the `java` that Spark would start: JAVA_HOME first, then the PATH.

    Args:
        environment: The environment variables.

    Returns:
        A path, or None. A JAVA_HOME without a `java` gives a path that does not exist, because
        Spark would not look any further either.
    """
    home = environment.get("JAVA_HOME")
    if home:
        return str(Path(home) / "bin" / "java")
    return shutil.which("java", path=environment.get("PATH"))


def check_java(environment: Dict[str, str]) -> Optional[str]:
    """Tells whether Spark will find a Java that it runs on.

    Args:
        environment: The environment variables.

    Returns:
        One sentence that says what to do, or None when all is well.
    """
    advice = (
        "install a JDK or JRE 17 or 21 (on Debian or Ubuntu `apt-get install "
        "openjdk-17-jre-headless`) and, with several of them, point JAVA_HOME at it."
    )
    path = find_java(environment)
    if path is None:
        return "Spark needs Java and there is none on the PATH: " + advice
    try:
        ran = subprocess.run(  # noqa: S603  the user's own java, no shell
            [path, "-version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"Java at {path} does not start: " + advice
    major = java_major(ran.stdout.decode("utf-8", "replace"))
    if major in JAVA_VERSIONS:
        return None
    named = "is of an unknown version" if major is None else f"is version {major}"
    return f"Java at {path} {named}: " + advice


def memory_bytes(meminfo_text: str, limit_texts: List[str]) -> int:
    """Works out how much memory this process may use.

    Args:
        meminfo_text: The content of `/proc/meminfo`.
        limit_texts: The contents of the container's limit files; "max" means none.

    Returns:
        Bytes: the machine's memory or the container's limit, whichever is smaller; 0 when unknown.
    """
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo_text, re.MULTILINE)
    amounts = [int(found.group(1)) * 1024] if found else []
    amounts += [int(text) for text in limit_texts if text.strip().isdigit()]
    return min(amounts) if amounts else 0


def check_memory(available: int) -> Optional[str]:
    """Tells whether Spark, the vision-language model and the encoder fit into memory together.

    Args:
        available: Bytes; 0 when unknown, which passes.

    Returns:
        One sentence that says what to do, or None when all is well.
    """
    if available == 0 or available >= MEMORY_BYTES:
        return None
    return (
        f"{MEMORY_BYTES // GB} GB of memory are needed and this machine or container has "
        f"{available / GB:.1f} GB: raise its limit or take a larger one."
    )


def check_disk(folder: Path, free: int, *, installed: bool) -> Optional[str]:
    """Tells whether the packages and the tables fit on the disk.

    Args:
        folder: Where the virtual environment goes.
        free: Bytes free there.
        installed: Whether the environment is there already.

    Returns:
        One sentence that says what to do, or None when all is well.
    """
    needed = DISK_BYTES_TO_RUN if installed else DISK_BYTES_TO_INSTALL
    if free >= needed:
        return None
    return (
        f"{needed // GB} GB of free disk are needed at {folder} and there are {free / GB:.1f} GB: "
        "free some space or put the project on a larger disk."
    )


def check_maven_cache(repository: Path) -> Optional[str]:
    """Looks for a half-filled Maven cache, which keeps Spark from fetching Delta's jars.

    Args:
        repository: The local Maven repository, usually `~/.m2/repository`.

    Returns:
        One sentence that says what to do, or None when all is well.
    """
    for group in _MAVEN_GROUPS:
        for pom in sorted((repository / group).glob("**/*.pom")):
            if not pom.with_suffix(".jar").exists():
                return (
                    f"The Maven cache is half-filled and would stop Spark with 'download failed': "
                    f"delete {pom.parent}, it is fetched again."
                )
    return None


def problems(venv: Path) -> List[str]:
    """Runs every check on this machine.

    Args:
        venv: Where the virtual environment is or will be.

    Returns:
        One sentence a problem, in the order in which to solve them.
    """
    folder = venv.resolve().parent
    limits = [path.read_text() for path in _CGROUP_LIMITS if path.is_file()]
    meminfo = Path("/proc/meminfo")
    installed = (venv / "installed").exists()
    answers = [
        check_system(platform.system(), platform.machine()),
        check_python(sys.version_info[:2], has_venv=_has_venv()),
        check_java(dict(os.environ)),
        check_memory(memory_bytes(meminfo.read_text() if meminfo.is_file() else "", limits)),
        check_disk(folder, shutil.disk_usage(str(folder)).free, installed=installed),
        check_maven_cache(Path.home() / ".m2" / "repository"),
    ]
    return [answer for answer in answers if answer]


def _has_venv() -> bool:
    # Debian splits ensurepip off: `venv` imports there and then fails half-way.
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def main(arguments: Optional[List[str]] = None) -> int:
    """Prints what is missing, a sentence each.

    Args:
        arguments: Command line; the process's own when None.

    Returns:
        The exit status: 0 when nothing is missing, else 1.
    """
    parser = argparse.ArgumentParser(description="Check this machine before installing.")
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    found = problems(parser.parse_args(arguments).venv)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
