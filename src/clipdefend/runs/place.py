"""Where a new run goes: never onto another one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from clipdefend.errors import RunError
from clipdefend.runs.manifest import MANIFEST, UNFINISHED

LABEL_LENGTH = 40
DIGEST_LENGTH = 8


def folders_in(runs: Path) -> list[Path]:
    """Visible folders directly in a folder of runs, sorted; links to folders count, hidden ones do not.

    Raises:
        RunError: the folder cannot be listed.
    """
    try:
        children = sorted(runs.iterdir()) if runs.is_dir() else []
    except OSError as error:
        raise RunError(f"The runs in {str(runs)!r} cannot be listed: {error.strerror}.") from None
    return [child for child in children if not child.name.startswith(".") and child.is_dir()]


def claim(out: Path) -> Path:
    """Make ``out``, or take it when it is an empty folder."""
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
    """Make ``runs/NNN-COMMAND-LABEL`` with the next number that no other process has or gets."""
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
    """A label as the end of a folder's name, at most 40 characters.

    Labels that come out alike, being cut or written in other letters, are told apart by eight digits of a digest.
    """
    slug = re.sub(r"[^a-z0-9._]+", "-", label.lower()).strip("-.") or "run"
    if len(slug) <= LABEL_LENGTH and label.isascii():
        return slug
    digest = hashlib.sha256(label.encode("utf-8", "surrogateescape")).hexdigest()[:DIGEST_LENGTH]
    return f"{slug[: LABEL_LENGTH - DIGEST_LENGTH - 1].rstrip('-.')}-{digest}"
