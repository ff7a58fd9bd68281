"""The help texts, straight from the configurations: one flag, one default, one line."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from clipdefend import __doc__ as about
from clipdefend.cli.examples import EXAMPLES
from clipdefend.cli.invocation import DOCTOR, DOCTOR_COMMANDS, invocation_class
from clipdefend.config import COMMANDS, Leaf, RunConfig, leaves
from clipdefend.config.coerce import members
from clipdefend.config.presets import preset_values

FLAG_COLUMN = 34
DOCTOR_SUMMARY = (
    "Check an installation and a training before it is begun: time, memory, disk, what to change."
)


def main_help(*, bold: bool = False) -> str:
    """What ``clipdefend --help`` prints."""
    lines = [
        f"Usage: clipdefend {_strong('COMMAND', bold)} [RUN] [FLAGS]",
        "",
        f"  {_about()}",
        "",
        _strong("Commands", bold),
        *(_row(f"  {name}", _summary(cls), FLAG_COLUMN // 2 + 3) for name, cls in COMMANDS.items()),
        _row(f"  {DOCTOR}", DOCTOR_SUMMARY, FLAG_COLUMN // 2 + 3),
        "",
        _strong("Examples", bold),
        *(f"  {line}" for line in EXAMPLES["clipdefend"]),
        "",
        "Each COMMAND --help lists its flags. Exit codes: 0 done, 2 a mistake in what was given, 3 a gate of",
        "evaluate failed, 130 interrupted. Standard output carries only the result.",
        "",
    ]
    return "\n".join(lines)


def command_help(command: str, *, bold: bool = False) -> str:
    """What ``clipdefend COMMAND --help`` prints."""
    cls = COMMANDS[command]
    run = " [RUN...]" if cls.many else " [RUN]" if cls.sources else ""
    lines = [f"Usage: clipdefend {_strong(command, bold)}{run} [FLAGS]", "", f"  {_summary(cls)}", ""]
    if run:
        kinds = " or ".join(cls.sources)
        one = f"Input run of kind {kinds}; as --from."
        many = "Runs, or folders of runs; their ancestors are found by themselves. [all of --runs]"
        lines += [_row("  RUN", many if cls.many else one, FLAG_COLUMN), ""]
    lines += [_strong("Examples", bold), *(f"  {line}" for line in EXAMPLES[command]), ""]
    quick = preset_values("quick", command)
    for group, found in _groups(command).items():
        lines.append(_strong(group, bold))
        lines += [_row(*_flag(leaf, quick), FLAG_COLUMN) for leaf in found]
        lines.append("")
    return "\n".join(lines)


def doctor_help(*, bold: bool = False) -> str:
    """What ``clipdefend doctor --help`` prints."""
    named = f"Command whose flags follow: {' or '.join(DOCTOR_COMMANDS)}. [{DOCTOR_COMMANDS[0]}]"
    rest = f"Every flag of that command: see clipdefend {DOCTOR_COMMANDS[0]} --help."
    lines = [
        f"Usage: clipdefend {_strong(DOCTOR, bold)} [--command NAME] [RUN] [FLAGS]",
        "",
        f"  {DOCTOR_SUMMARY}",
        "",
        _strong("Examples", bold),
        *(f"  {line}" for line in EXAMPLES[DOCTOR]),
        "",
        _strong("Doctor", bold),
        _row("  --command NAME", named, FLAG_COLUMN),
        _row("  FLAGS", rest, FLAG_COLUMN),
        _row("  --json", "Print all findings as JSON instead of the verdict.", FLAG_COLUMN),
        "",
        "Looks at packages, devices, data, model and disk, tries a few real steps, and says what to change.",
        "Exit code 0: it will work; 2: something makes it impossible.",
        "",
    ]
    return "\n".join(lines)


def _groups(command: str) -> dict[str, list[Leaf]]:
    """Heading -> its flags: the command's own first, those of every command last."""
    cls = COMMANDS[command]
    groups: dict[str, list[Leaf]] = {cls.group: []}
    last: list[Leaf] = []
    for leaf in leaves(cls).values():
        if leaf.group == "Run":
            last.append(leaf)
        elif leaf.spec.flags:
            groups.setdefault(leaf.group, []).append(leaf)
    given = [
        leaf for leaf in leaves(invocation_class(command)).values() if cls.sources or leaf.path != "source"
    ]
    return {**groups, "Run": [*given, *last]}


def _flag(leaf: Leaf, quick: dict[str, object]) -> tuple[str, str]:
    flags = ", ".join(leaf.spec.flags)
    if bool in members(leaf.annotation):
        return f"  {flags}", leaf.spec.help
    defaults = [leaf.spec.shown or _show(leaf.default)]
    if quick.get(leaf.path, leaf.default) != leaf.default:
        defaults.append(f"quick: {_show(quick[leaf.path])}")
    shown = "; ".join(text for text in defaults if text)
    return f"  {flags} {leaf.metavar}", f"{leaf.spec.help} [{shown}]" if shown else leaf.spec.help


def _show(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return str(value.get("name", ""))
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _about() -> str:
    text = (about or "").splitlines()[0].partition(": ")[2]
    return text[:1].upper() + text[1:]


def _summary(cls: type[RunConfig]) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def _row(left: str, right: str, column: int) -> str:
    width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns)) - column
    lines = textwrap.wrap(right, width, break_on_hyphens=False) or [""]
    first = f"{left:<{column - 1}} {lines.pop(0)}" if len(left) < column else left
    return "\n".join([first, *(" " * column + line for line in lines)])


def _strong(text: str, bold: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if bold else text


def flags_of(command: str) -> Iterator[str]:
    """Every flag of a command, for the nearest one to a mistyped flag."""
    for cls in (COMMANDS[command], invocation_class(command)):
        for leaf in leaves(cls).values():
            yield from leaf.spec.flags
