"""Chooses the folder of a new run, which never overwrites another one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from clipdefend.errors import RunError
from clipdefend.runs.manifest import MANIFEST, UNFINISHED

LABEL_LENGTH = 40
DIGEST_LENGTH = 8


def folders_in(runs: Path) -> list[Path]:
    """List the visible folders directly in a folder of runs, sorted, including links to folders.

    Raises:
        RunError: the folder cannot be listed.
    """
    try:
        children = sorted(runs.iterdir()) if runs.is_dir() else []
    except OSError as error:
        raise RunError(f"The runs in {str(runs)!r} cannot be listed: {error.strerror}.") from None
    return [child for child in children if not child.name.startswith(".") and child.is_dir()]


def claim(out: Path) -> Path:
    """Create ``out``, or accept it if it is an empty folder."""
    if (out / MANIFEST).exists():
        raise RunError(
            f"--out {str(out)!r} is a finished run, which is never overwritten. Choose another folder."
        )
    if (out / UNFINISHED).exists():
        raise RunError(f"--out {str(out)!r} is an unfinished run. Continue it with --resume, or delete it.")
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"--out {str(out)!r} is a folder with other files. Choose a new or an empty one.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def next_folder(runs: Path, command: str, label: str) -> Path:
    """Create ``runs/NNN-COMMAND-LABEL`` with the next free number, without races between processes."""
    runs.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        number = max(number, *(_number(child.name) for child in runs.iterdir()), 0) + 1
        # The number is reserved by a folder whose name is the number alone; mkdir succeeds in one process.
        # A process that took it before has renamed it by then, which the second look sees.
        reserved = runs / f".{number:03d}"
        try:
            reserved.mkdir()
        except FileExistsError:
            continue
        if any(_number(child.name) == number for child in runs.iterdir() if child != reserved):
            reserved.rmdir()
            continue
        return reserved.rename(runs / f"{number:03d}-{command}-{_slug(label)}")


def _number(name: str) -> int:
    match = re.match(r"\.?(\d{3,9})(-|$)", name)
    return int(match.group(1)) if match else 0


def _slug(label: str) -> str:
    """Turn a label into the end of a folder name of at most 40 characters.

    A label that had to be shortened or altered gets eight digits of its digest, so that different labels differ.
    """
    slug = re.sub(r"[^a-z0-9._]+", "-", label.lower()).strip("-.") or "run"
    if len(slug) <= LABEL_LENGTH and label.isascii():
        return slug
    digest = hashlib.sha256(label.encode("utf-8", "surrogateescape")).hexdigest()[:DIGEST_LENGTH]
    return f"{slug[: LABEL_LENGTH - DIGEST_LENGTH - 1].rstrip('-.')}-{digest}"
