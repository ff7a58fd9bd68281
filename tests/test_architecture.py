"""The structure that the source keeps: direction of imports, sizes, what never appears, what every part has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import clipdefend
from clipdefend.attacks import ATTACKS
from clipdefend.defences import DEFENCES
from clipdefend.inversion import FAMILIES
from clipdefend.objectives import METHODS, TERMS
from clipdefend.registry import Registry

ROOT = Path(clipdefend.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

# A part (a package or a module of the top level) imports parts of lower levels, and itself.
LEVELS = (
    ("errors", "choices", "safe_stream", "surroundings", "typed_path", "__init__"),
    ("registry", "draws", "console", "distributed", "intervals", "interruption"),
    ("config",),
    ("runs",),
    ("attacks", "augment", "losses", "metrics", "world", "canvas", "detection"),
    ("data", "objectives", "models"),
    ("poisoning", "evaluation", "gates", "interchange", "inversion"),
    ("defences",),
    ("training", "learning", "report", "components"),
    ("study",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# Slow to import, or with files of their own to be fetched: inside functions only.
LAZY = {"spacy", "nltk", "sng_parser", "open_clip", "matplotlib", "sklearn", "torchvision", "accelerate"}
# What --help reads imports none of these, not even lazily through a package's __init__.
HEAVY = LAZY | {"torch", "numpy", "PIL", "pyarrow", "safetensors", "rich", "typer", "pydantic"}

MAX_FILE = 300
MAX_FUNCTION = 50


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(node: ast.AST) -> Iterator[str]:
    """Full names of imported modules, and of names imported from ``clipdefend`` itself."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            assert each.level == 0, "relative imports hide the direction"
            if each.module == "clipdefend":
                yield from (f"clipdefend.{alias.name}" for alias in each.names)
            else:
                yield each.module or ""


def top_level_imports(module: ast.Module) -> set[str]:
    """First parts of what is imported whenever the module is; not under TYPE_CHECKING or in functions."""
    return {name.split(".")[0] for node in top_level(module) for name in imports(node)}


def top_level(module: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that are carried out whenever the module is imported."""

    def always(nodes: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield node
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
                yield from always(node.body + node.orelse)
            elif isinstance(node, ast.Try):
                handlers = [statement for handler in node.handlers for statement in handler.body]
                yield from always(node.body + handlers + node.orelse + node.finalbody)
            elif isinstance(node, (ast.With, ast.ClassDef)):
                yield from always(node.body)

    yield from always(module.body)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_graph() -> dict[str, set[str]]:
    """For each module of the source the modules of the source that it imports at its top level.

    An import of a package's own name counts as an import of its ``__init__``; that Python imports the ``__init__`` of
    every package above a module is left aside, since ours hold names only.
    """
    modules = {module_name(path): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in top_level(tree(path)):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            else:
                found.update(
                    inner if (inner := f"{node.module}.{alias.name}") in modules else str(node.module)
                    for alias in node.names
                )
        graph[name] = (found & modules.keys()) - {name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that import each other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        ahead = list(graph[start])
        while ahead:
            if (name := ahead.pop()) not in seen:
                seen.add(name)
                ahead += graph[name]
        reach[start] = seen
    found: list[set[str]] = []
    for name in graph:
        if name in reach[name] and not any(name in circle for circle in found):
            found.append({other for other in reach[name] if name in reach[other]})
    return found


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_every_part_has_a_level() -> None:
    assert {part_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_downwards(path: Path) -> None:
    own = part_of(path)
    for name in imports(tree(path)):
        package, _, rest = name.partition(".")
        if package != "clipdefend" or not rest:
            continue
        other = rest.split(".")[0]
        if other.startswith("__"):  # __version__ and __doc__
            other = "__init__"
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {name}, which is not below it"


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}) == [{"a", "b", "c"}]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(module_graph()) == []


def test_no_file_name_occurs_twice() -> None:
    names = [path.name for path in FILES if path.name != "__init__.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE
    long = {f.name: lines_of(f) for f in functions(tree(path)) if lines_of(f) >= MAX_FUNCTION}
    assert not long


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_slow_libraries_are_imported_inside_functions(path: Path) -> None:
    found = top_level_imports(tree(path))
    assert not found & LAZY
    if path.name == "__init__.py" or part_of(path) in (
        "cli",
        "config",
        "runs",
        "console",
        "errors",
        "__main__",
    ):
        assert not found & HEAVY - ({"typer"} if part_of(path) == "cli" else set())


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_evaluated_and_no_pickle_is_trusted(path: Path) -> None:
    module = tree(path)
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            assert called not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen")
            assert called not in ("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads")
            # A study runs the other commands, each in a process of its own, from a list of words.
            assert not called.startswith("subprocess.") or path.name == "fork_server.py"
            if called == "torch.load":
                assert ast.unparse(keywords["weights_only"]) == "True"
            if called == "yaml.load":
                assert "CSafeLoader" in ast.unparse(module)
            if called == "np.load":
                assert ast.unparse(keywords["allow_pickle"]) == "False"
            for switch in ("weights_only", "trust_remote_code", "shell", "allow_pickle"):
                if switch in keywords:
                    wanted = str(switch == "weights_only")
                    assert ast.unparse(keywords[switch]) == wanted, f"{switch} in line {node.lineno}"
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno} of what users run"


def test_accelerate_stays_in_the_training() -> None:
    using = {
        part_of(path) for path in FILES if any(n.split(".")[0] == "accelerate" for n in imports(tree(path)))
    }
    assert using == {"training"}


def test_only_the_command_line_prints_and_exits() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and part_of(path) not in ("cli", "__main__"):
                assert ast.unparse(node.func) not in ("print", "sys.exit", "exit", "quit"), path


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_modules_and_public_classes_are_described(path: Path) -> None:
    module = tree(path)
    assert ast.get_docstring(module) or not module.body
    for node in module.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("registry", [ATTACKS, TERMS, DEFENCES, FAMILIES], ids=lambda registry: registry.kind)
def test_every_registered_component_resolves_and_names_its_source(registry: Registry[object]) -> None:
    assert registry.names()
    for name in registry.names():
        component = registry.get(name)
        assert "Reference" in (component.__doc__ or ""), name


def test_every_method_names_its_source_and_known_terms() -> None:
    for name, method in METHODS.items():
        assert method.source, name
        assert set(method.terms) <= set(TERMS.names()), name
