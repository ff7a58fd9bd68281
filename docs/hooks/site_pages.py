"""MkDocs hooks: pages that are made from the code at build time, so that they cannot go stale.

The reference, and the files of the root that are pages too, are added in ``on_files``. A marker such as
``<!-- made: architecture -->`` in any other page is replaced by what `MADE` names for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import architecture
import command_pages
import component_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "clipdefend"
COPIED = ("CONTRIBUTING.md", "CHANGELOG.md")
MARKER = re.compile(r"<!-- made: ([a-z-]+) -->")

# Name of a marker -> what stands there, given the way from its page's folder to the folder of the site.
MADE: dict[str, Callable[[str], str]] = {
    "architecture": lambda up: architecture.picture(SOURCE),
    "parts": lambda up: architecture.table_of_parts(SOURCE),
    "commands": lambda up: command_pages.overview(f"{up}reference/"),
    "data-formats": lambda up: component_pages.data_formats(),
}


def made_pages() -> dict[str, str]:
    """Path below ``docs/`` -> Markdown of every page that is not a file there."""
    made = command_pages.pages() | component_pages.pages()
    # Links of files in the repository's root lead into docs/; here they start from it.
    copied = {name: (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](") for name in COPIED}
    return {f"reference/{name}.md": text for name, text in made.items()} | {
        name.lower(): text for name, text in copied.items()
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation's sections whose pages are made here."""
    made = {"Commands": list(command_pages.pages()), "Components": list(component_pages.pages())}
    for section in sections(config.nav):
        for title, names in made.items():
            if title in section:
                section[title] = [f"reference/{name}.md" for name in names]
    return config


def sections(items: Any) -> Iterator[dict[str, Any]]:
    """Every titled entry of the navigation, at any depth."""
    for item in items or ():
        if isinstance(item, dict):
            yield item
            for inner in item.values():
                if isinstance(inner, list):
                    yield from sections(inner)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages made here to those that MkDocs has found."""
    for path, text in made_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Replace the markers of a page. Raises KeyError, which fails the build, for an unknown one."""
    up = "../" * page.file.src_uri.count("/")
    return MARKER.sub(lambda found: MADE[found[1]](up), markdown)
