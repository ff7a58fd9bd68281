"""Reads class names and templates from Python source such as CleanCLIP's ``classes.py``, without running it."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Sequence
from pathlib import Path

from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.errors import DataError

PLACEHOLDER = "{}"
"""Placeholder of the class name in a template."""


def parse_python(text: str, path: Path) -> ClassFile:
    """Read ``classes`` and ``templates`` from Python source without running it.

    The source is one dict literal, as CleanCLIP's ``classes.py``, or assignments to these two names. Names
    are string literals; templates are string literals or lambdas of one argument that put it into a string
    by an f-string, ``.format``, ``%`` or ``+``.

    Raises:
        DataError: the source contains anything else in these places.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"File {str(path)!r} is not Python source: {str(error)[:120]}.") from error
    values: dict[str, ast.expr] = {}
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Dict):
            for key, value in zip(statement.value.keys, statement.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    values[key.value] = value
        elif isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            values.update(dict.fromkeys(names, statement.value))
    lists: list[list[str] | None] = []
    for name in ("classes", "templates"):
        node = values.get(name)
        if node is not None and not isinstance(node, ast.List | ast.Tuple):
            raise DataError(f"File {str(path)!r}, line {node.lineno}: {name!r} must be a list written out.")
        lists.append(None if node is None else [_string(item, path) for item in node.elts])
    return ClassFile(lists[0], lists[1], "Python source, not run")


def _string(node: ast.expr, path: Path) -> str:
    """Return the text of a literal, or of a lambda with its argument replaced by ``{}``."""
    text: str | None = None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    elif isinstance(node, ast.Lambda) and len(node.args.args) == 1:
        with contextlib.suppress(RecursionError):  # nested too deep to be of a known form
            text = _fold(node.body, node.args.args[0].arg)
    if text is None:
        raise DataError(
            f"File {str(path)!r}, line {node.lineno}: only texts, and lambdas that put their argument into a"
            " text, are read; nothing is evaluated. Write the templates with {} instead."
        )
    return text


def _fold(node: ast.expr, argument: str) -> str | None:
    """Return the text of an expression, with ``{}`` in place of its variable; None if its form is unknown."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name):
        return PLACEHOLDER if node.id == argument else None
    if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
        return _fold(node.value, argument) if isinstance(node.value, ast.Name) else None
    if isinstance(node, ast.JoinedStr):
        return _join([_fold(value, argument) for value in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _join([_fold(node.left, argument), _fold(node.right, argument)])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        left = node.left.value if isinstance(node.left, ast.Constant) else None
        whole = isinstance(left, str) and left.count("%") == left.count("%s") == 1
        right = _fold(node.right, argument) if isinstance(node.right, ast.Name) else None
        return left.replace("%s", right) if isinstance(left, str) and whole and right else None
    if isinstance(node, ast.Call):
        return _fold_format(node, argument)
    return None


def _fold_format(node: ast.Call, argument: str) -> str | None:
    """Return the text of ``'a {} b'.format(c)`` or ``'a {c} b'.format(c=c)``, with ``{}`` for the argument."""
    function = node.func
    if not (isinstance(function, ast.Attribute) and function.attr == "format"):
        return None
    text = function.value.value if isinstance(function.value, ast.Constant) else None
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    if (
        not isinstance(text, str)
        or len(given) != 1
        or not isinstance(given[0], ast.Name)
        or given[0].id != argument
    ):
        return None
    name = node.keywords[0].arg if node.keywords else None
    hole = PLACEHOLDER if not node.keywords else f"{{{name}}}"
    if not node.keywords:
        text = text.replace("{0}", PLACEHOLDER)
    return text.replace(hole, PLACEHOLDER) if hole in text else None


def _join(parts: Sequence[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return "".join(known) if len(known) == len(parts) else None
