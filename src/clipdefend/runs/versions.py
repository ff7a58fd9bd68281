"""Versions of what a run was made with, read without importing it."""

from __future__ import annotations

import importlib.metadata
import platform

from clipdefend import __version__

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "accelerate": "accelerate",
    "numpy": "numpy",
    "pillow": "pillow",
    "spacy": "spacy",
}


def versions() -> dict[str, str | None]:
    """Name -> version; None for what is not installed."""
    found: dict[str, str | None] = {"clipdefend": __version__, "python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
