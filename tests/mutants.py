"""Small faults put into the syntax tree of a module, one at a time, for the mutation pass in ``mutate.py``."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,),
}
CONTEXT = 30  # characters of code that identify a mutant, where the statement is that long


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Attributes:
        where: qualified name of the function or class, "module" at the top level.
        lines: first and last line of the faulty code.
        before, after: the smallest readable piece of code around the fault.
        tree: the whole module.
    """

    where: str
    lines: tuple[int, int]
    before: str
    after: str
    tree: ast.Module

    @property
    def key(self) -> str:
        """Identifies the mutant from one version of the file to the next."""
        return f"{self.where}: {self.before}  ->  {self.after}"


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source code.

    Faults are exchanged operators, changed constants, lost signs and negations, conditions that always or never
    hold, lost operands of "and" and "or", returns of nothing, and deleted statements. Annotations, docstrings and
    the texts of exceptions are left alone.
    """
    tree = ast.parse(source)
    _drop_docstrings(tree)
    yield from _below(tree, tree, (tree,), "module")


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0]
            text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if text and len(node.body) > 1:
                del node.body[0]
            node.body[:] = [s for s in node.body if not _is_text(s) or len(node.body) == 1]


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _below(tree: ast.Module, node: ast.AST, path: tuple[ast.AST, ...], where: str) -> Iterator[Mutant]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "ctx") or isinstance(node, ast.Raise):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_declaration(child):
                continue
            for new in _replacements(child, node, name):
                yield _make(tree, (node, name, place), child, new, (*path, child), where)
            inner = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = child.name if where == "module" else f"{where}.{child.name}"
            yield from _below(tree, child, (*path, child), inner)


def _is_declaration(node: ast.AST) -> bool:
    """Whether a statement concerns types only: imports, and names for types."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return (
        isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript) and "Literal" in ast.dump(node)
    )


def _replacements(child: ast.AST, parent: ast.AST, field: str) -> Iterator[ast.AST]:
    for other in SWAPS.get(type(child), ()):
        yield other()
    if isinstance(child, ast.Constant):
        yield from _constants(child)
    elif isinstance(child, ast.UnaryOp) and isinstance(child.op, ast.Not | ast.USub):
        yield child.operand
    elif isinstance(child, ast.BoolOp):
        for left_out in range(len(child.values)):
            rest = child.values[:left_out] + child.values[left_out + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(child.op, rest)
    elif isinstance(child, ast.Return) and child.value and ast.unparse(child.value) != "None":
        yield ast.Return(ast.Constant(None))
    elif isinstance(child, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield ast.Pass()
    if field == "test" or (isinstance(parent, ast.comprehension) and field == "ifs"):
        yield ast.Constant(True)
        yield ast.Constant(False)


def _constants(constant: ast.Constant) -> Iterator[ast.AST]:
    value = constant.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
        if value == 1:
            yield ast.Constant(0)
    elif isinstance(value, str) and any(char.isalnum() for char in value):
        yield ast.Constant(f"{value}~")


def _make(
    tree: ast.Module,
    slot: tuple[ast.AST, str, int | None],
    old: ast.AST,
    new: ast.AST,
    path: tuple[ast.AST, ...],
    where: str,
) -> Mutant:
    """Put the fault in, copy the module, and take the fault out again."""
    around = _around(path)
    before = _text(around)
    _set(slot, new)
    after = _text(new if around is old else around)
    mutated = ast.fix_missing_locations(copy.deepcopy(tree))
    _set(slot, old)
    spot = next(node for node in reversed(path) if hasattr(node, "lineno"))
    return Mutant(where, (spot.lineno, _end(spot)), before, after, mutated)


def _set(slot: tuple[ast.AST, str, int | None], node: ast.AST) -> None:
    parent, name, place = slot
    if place is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[place] = node


def _around(path: tuple[ast.AST, ...]) -> ast.AST:
    """The smallest expression around the last node that is long enough to recognise, at most its statement."""
    for node in reversed(path):
        if isinstance(node, ast.stmt) or (isinstance(node, ast.expr) and len(ast.unparse(node)) >= CONTEXT):
            return node
    return path[-1]


def _text(node: ast.AST) -> str:
    """Source code on one line; of a statement with a body, its first line."""
    lines = ast.unparse(node).splitlines()
    return lines[0] if isinstance(node, ast.stmt) and len(lines) > 1 else " ".join(map(str.strip, lines))


def _end(node: ast.AST) -> int:
    """Last line of the code itself, without the body of a compound statement."""
    if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.FunctionDef | ast.ClassDef):
        return int(node.lineno)
    return int(node.end_lineno or node.lineno)  # type: ignore[attr-defined]
