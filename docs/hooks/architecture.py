"""The architecture page's picture and table, from the imports of the source.

A part is a package or module right below ``clipdefend``. Rows are the levels that ``tests/test_architecture.py``
keeps: a part imports parts of rows below its own. An arrow is left out where a longer way says the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from markdown_text import code, literal, table

LEVELS_FILE = Path(__file__).parents[2] / "tests" / "test_architecture.py"

WIDTH = 1000
BOX_WIDTH, BOX_HEIGHT = 132, 46
ROW_HEIGHT = 104
MARGIN = 12
SWEEPS = 8

Graph = Mapping[str, set[str]]


class Part(NamedTuple):
    """What is right below ``clipdefend``."""

    name: str
    summary: str
    files: int
    lines: int


def picture(source: Path) -> str:
    """SVG of parts and imports, in the colours of the page around it."""
    graph = reduce(imports(source))
    rows = [[name for name in row if name in graph] for row in reversed(levels())]
    places = positions(order([row for row in rows if row], graph))
    sizes = {part.name: part for part in parts(source)}
    height = ROW_HEIGHT * (1 + max(row for _, row in places.values()))
    lines = [
        f'<svg class="architecture" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        "<title>Parts of clipdefend and what they import</title>",
        f"<style>{style(graph)}</style>",
        *(edge(name, other, places) for name in graph for other in sorted(graph[name])),
        *(box(sizes[name], place) for name, place in places.items()),
        "</svg>",
    ]
    # Blank lines would end a block of HTML within Markdown.
    return "\n".join(lines)


def table_of_parts(source: Path) -> str:
    """Markdown table of the parts, by level from the top."""
    found = {part.name: part for part in parts(source)}
    rows = [
        (code(name), literal(found[name].summary), str(found[name].files), f"{found[name].lines:,}")
        for row in reversed(levels())
        for name in row
        if name in found
    ]
    return table(("Part", "What it holds", "Files", "Lines"), rows)


def levels() -> tuple[tuple[str, ...], ...]:
    """The levels of the architecture test, the lowest first."""
    for node in ast.parse(LEVELS_FILE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LEVELS":
            found: tuple[tuple[str, ...], ...] = ast.literal_eval(node.value)
            return found
    raise LookupError(f"{LEVELS_FILE} assigns no LEVELS")


def parts(source: Path) -> Iterator[Part]:
    """The parts with their sizes; ``__init__`` itself is none."""
    for path in sorted(source.iterdir()):
        name = path.name.removesuffix(".py")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if name == "__init__" or not files or path.suffix not in ("", ".py"):
            continue
        described = (path / "__init__.py") if path.is_dir() else path
        text = ast.get_docstring(ast.parse(described.read_text(encoding="utf-8"))) or ""
        count = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
        yield Part(name, text.split("\n\n")[0], len(files), count)


def imports(source: Path) -> Graph:
    """Part -> the other parts that it imports anywhere."""
    names = {part.name for part in parts(source)}
    found: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        path = source / name
        for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                found[name] |= imported(node) & names - {name}
    return found


def imported(node: ast.AST) -> set[str]:
    """Parts that one statement imports."""
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module == "clipdefend":
        modules = [f"clipdefend.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [node.module or ""]
    else:
        return set()
    return {module.split(".")[1] for module in modules if module.startswith("clipdefend.")}


def reduce(graph: Graph) -> Graph:
    """Without the arrows that follow from others; the graph has no circles."""

    def reached(name: str) -> set[str]:
        if name not in known:
            known[name] = set().union(*({other} | reached(other) for other in graph[name]))
        return known[name]

    known: dict[str, set[str]] = {}
    return {
        name: {other for other in below if not any(other in reached(third) for third in below - {other})}
        for name, below in graph.items()
    }


def order(rows: list[list[str]], graph: Graph) -> list[list[str]]:
    """Each row sorted by the mean place of its neighbours, a few times up and down, so that fewer arrows cross."""
    neighbours = {name: set(below) for name, below in graph.items()}
    for name, below in graph.items():
        for other in below:
            neighbours[other].add(name)
    for _ in range(SWEEPS):
        for row in (*rows, *reversed(rows)):
            places = {name: x for name, (x, _) in positions(rows).items()}

            def mean(name: str, places: Mapping[str, float] = places) -> float:
                near = neighbours[name]
                return sum(places[other] for other in near) / len(near) if near else WIDTH / 2

            row.sort(key=mean)
    return rows


def positions(rows: list[list[str]]) -> dict[str, tuple[float, int]]:
    """Part -> centre of its box and number of its row."""
    return {
        name: (WIDTH * (place + 0.5) / len(row), number)
        for number, row in enumerate(rows)
        for place, name in enumerate(row)
    }


def box(part: Part, place: tuple[float, int]) -> str:
    """A part's box with its name and size."""
    x, top = place[0], place[1] * ROW_HEIGHT + MARGIN
    size = f"{part.files} file{'s' * (part.files > 1)}, {part.lines:,} lines"
    return (
        f'<g class="part part-{part.name}"><title>{escape(part.summary)}</title>'
        f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5"/>'
        f'<text x="{x:.0f}" y="{top + 19}">{escape(part.name)}</text>'
        f'<text class="size" x="{x:.0f}" y="{top + 36}">{size}</text></g>'
    )


def edge(name: str, other: str, places: Mapping[str, tuple[float, int]]) -> str:
    """A curve from a part down to one that it imports."""
    x1, y1 = places[name][0], places[name][1] * ROW_HEIGHT + MARGIN + BOX_HEIGHT
    x2, y2 = places[other][0], places[other][1] * ROW_HEIGHT + MARGIN
    middle = (y1 + y2) / 2
    path = f"M{x1:.0f},{y1} C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{y2}"
    return f'<path class="edge from-{name} to-{other}" d="{path}"/>'


def style(graph: Graph) -> str:
    """Colours of the page, and the arrows of the part under the pointer."""
    pointed = [
        f".architecture:has(.part-{name}:hover) .from-{name}, .architecture:has(.part-{name}:hover) .to-{name}"
        " { stroke: var(--md-accent-fg-color); stroke-width: 2.5; opacity: 1 }"
        for name in graph
    ]
    return " ".join(
        [
            ".architecture { width: 100%; height: auto; font-family: inherit }",
            ".architecture rect { fill: var(--md-code-bg-color, #f5f5f5); stroke: var(--md-primary-fg-color, #456) }",
            ".architecture text { fill: var(--md-default-fg-color, #222); text-anchor: middle; font-size: 15px }",
            ".architecture .size { font-size: 11px; opacity: 0.7 }",
            ".architecture .edge { fill: none; stroke: var(--md-default-fg-color, #222); opacity: 0.3 }",
            *pointed,
        ]
    )
