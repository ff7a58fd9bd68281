"""The reference of the commands: every flag and key with its default, range and help, from the configurations."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping

from markdown_text import code, fenced, literal, table

from clipdefend.cli.app import DOCTOR_SUMMARY
from clipdefend.cli.examples import EXAMPLES
from clipdefend.cli.invocation import DOCTOR, DOCTOR_COMMANDS, invocation_class
from clipdefend.config import COMMANDS, Leaf, RunConfig, leaves, load_config, to_yaml
from clipdefend.config.coerce import members
from clipdefend.config.presets import COMPONENTS, PRESETS, WHERE, preset_values

COLUMNS = ("Flag and key", "Takes", "Default", "Meaning")


def pages() -> dict[str, str]:
    """Name -> page of every command, and of the presets."""
    return {**{name: page(name) for name in COMMANDS}, DOCTOR: doctor_page(), "presets": presets_page()}


def overview(folder: str) -> str:
    """Table of all commands, with links to their pages in ``folder``."""
    summaries = {name: literal(summary(cls)) for name, cls in COMMANDS.items()} | {DOCTOR: DOCTOR_SUMMARY}
    rows = [(f"[{code(name)}]({folder}{name}.md)", text) for name, text in summaries.items()]
    return table(("Command", "What it does"), rows)


def page(command: str) -> str:
    """The page of one command."""
    cls = COMMANDS[command]
    run = " [RUN...]" if cls.many else " [RUN]" if cls.sources else ""
    lines = [f"# clipdefend {command}", "", literal(summary(cls)), ""]
    lines += [
        fenced(f"clipdefend {command}{run} [FLAGS]", "text"),
        fenced("\n".join(EXAMPLES[command]), "sh"),
    ]
    if cls.many:
        lines += ["`RUN...`: runs or folders of runs; their ancestors are found without being named.", ""]
    elif cls.sources:
        kinds = " or ".join(code(kind) for kind in cls.sources)
        lines += [f"`RUN`: the input run, of kind {kinds}; the same as `--from RUN`.", ""]
    quick = preset_values("quick", command)
    for group, found in groups(command).items():
        lines += [f"## {group}", "", table(COLUMNS, (row(leaf, quick) for leaf in found)), ""]
    lines += [
        "## As a file",
        "",
        f"What `clipdefend {command} --dry-run` prints without further flags; `--config FILE` reads it back.",
        "",
        fenced(to_yaml(load_config(cls)), "yaml"),
    ]
    return "\n".join(lines)


def doctor_page() -> str:
    """The page of ``doctor``, which passes flags on to the command that it examines."""
    own = [leaf for leaf in leaves(invocation_class(DOCTOR)).values() if leaf.spec.flags]
    names = " or ".join(f"[{code(name)}]({name}.md)" for name in DOCTOR_COMMANDS)
    lines = [
        f"# clipdefend {DOCTOR}",
        "",
        DOCTOR_SUMMARY,
        "",
        fenced(f"clipdefend {DOCTOR} [RUN] [FLAGS]", "text"),
        fenced("\n".join(EXAMPLES[DOCTOR]), "sh"),
        f"All flags of {names} are passed on, except for `--resume`. Its own:",
        "",
        table(COLUMNS, (row(leaf, {}) for leaf in own)),
        "",
        "See [Check a run before it starts](../how-to/doctor.md).",
        "",
    ]
    return "\n".join(lines)


def presets_page() -> str:
    """What each preset changes of the dataclasses' defaults."""
    lines = ["# Presets", "", "`--preset NAME` changes defaults; flags and files still go before it.", ""]
    for preset, commands in PRESETS.items():
        lines += [f"## {preset}", ""]
        if not any(commands.values()):
            lines += ["The dataclasses' own defaults, which are the papers'.", ""]
        rows = [
            (code(command), code(key), code(show(leaves(COMMANDS[command])[key].default)), code(show(value)))
            for command, values in commands.items()
            for key, value in values.items()
        ]
        rows += [
            (code(command), code(f"{key}.{parameter}"), f"of {code(name)}", code(show(value)))
            for command, keys in COMPONENTS.get(preset, {}).items()
            for key, names in keys.items()
            for name, values in names.items()
            for parameter, value in values.items()
        ]
        rows += [
            (code(command), code(key), f"where {code(where[0])} is {code(where[1])}", code(show(value)))
            for command, choices in WHERE.get(preset, {}).items()
            for where, values in choices.items()
            for key, value in values.items()
        ]
        if rows:
            lines += [table(("Command", "Key", "Otherwise", preset), rows), ""]
    return "\n".join(lines)


def summary(cls: type[RunConfig]) -> str:
    """First line of a configuration's docstring."""
    return (cls.__doc__ or "").splitlines()[0]


def groups(command: str) -> Mapping[str, list[Leaf]]:
    """Heading -> its flags and keys: the command's own first, those of every command last."""
    cls = COMMANDS[command]
    found: dict[str, list[Leaf]] = {cls.group: []}
    last: list[Leaf] = []
    for leaf in leaves(cls).values():
        (last if leaf.group == "Run" else found.setdefault(leaf.group, [])).append(leaf)
    given = [
        leaf for leaf in leaves(invocation_class(command)).values() if cls.sources or leaf.path != "source"
    ]
    return {**found, "Run": [*given, *last]}


def row(leaf: Leaf, quick: Mapping[str, object]) -> tuple[str, ...]:
    """One flag: how it is written, what it takes, its defaults, its help."""
    chosen = any(typing.get_origin(member) is typing.Literal for member in members(leaf.annotation))
    value = "" if chosen else leaf.metavar  # choices stand in the next column
    flags = [f"{flag} {value}".rstrip() for flag in leaf.spec.flags[:1]]
    written = "<br>".join(code(name) for name in [*flags, *leaf.spec.flags[1:]])
    key = "" if leaf.path in ("source", "sets", "file") else f"<small>{code(leaf.path)}</small>"
    cell = "<br>".join(part for part in (written, key) if part)
    return cell, takes(leaf), "<br>".join(defaults(leaf, quick)), literal(leaf.spec.help)


def takes(leaf: Leaf) -> str:
    """Type, choices and range of a value."""
    words = {bool: "switch", int: "whole number", float: "number", str: "text", type(None): ""}
    parts = []
    for member in members(leaf.annotation):
        origin = typing.get_origin(member)
        if origin is typing.Literal:
            parts += [code(choice) for choice in typing.get_args(member)]
        elif origin is tuple:
            parts.append("several " + ("whole numbers" if int in typing.get_args(member) else "names"))
        elif origin is dict:
            parts.append("mapping")
        else:
            parts.append(words[member])
    return ", ".join(part for part in [*parts, str(leaf.spec.range)] if part)


def defaults(leaf: Leaf, quick: Mapping[str, object]) -> Iterable[str]:
    """The default, and that of the quick preset where it differs."""
    own = leaf.spec.shown
    yield literal(own) if own else code(show(leaf.default))
    if quick.get(leaf.path, leaf.default) != leaf.default:
        yield f"quick: {code(show(quick[leaf.path]))}"


def show(value: object) -> str:
    """A default as one types it; nothing for null and empty ones."""
    if value is None or value in ({}, ()):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return str(value.get("name", value))
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
