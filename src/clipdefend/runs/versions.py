"""Versions of the packages that a run uses, read without importing them."""

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
    """Return name -> version of each package, None if it is not installed."""
    found: dict[str, str | None] = {"clipdefend": __version__, "python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
