"""Paths in messages, as a user would type them."""

from __future__ import annotations

import os
from pathlib import Path


def typed_path(path: Path | str) -> str:
    """Return a path for a command line: relative where it is below the working directory, in quotes if it has spaces.

    Args:
        path: a text is taken as it was typed.
    """
    relative = os.path.relpath(path) if isinstance(path, Path) else path
    place = str(path) if relative.startswith(os.pardir) else relative
    return f'"{place}"' if " " in place else place
