"""The command line: one Typer application, generated from the configurations.

``option()`` in ``config`` is the one place of a flag, its default and its help. A flag's value stays text here and
``config.coerce`` reads it, as it reads configuration files and ``--set``.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from clipdefend import __doc__ as about
from clipdefend import __version__
from clipdefend.cli.completion import completer, run_completer
from clipdefend.cli.examples import EXAMPLES
from clipdefend.cli.invocation import DOCTOR, DOCTOR_COMMANDS, invocation_class, option_leaves
from clipdefend.cli.request import Request
from clipdefend.config import COMMANDS, Leaf, leaves
from clipdefend.config.coerce import members
from clipdefend.config.presets import preset_values
from clipdefend.errors import ConfigError
from clipdefend.registry import nearest

PROGRAM = "clipdefend"
DOCTOR_SUMMARY = "Check an installation and a run before it starts: time, memory, disk, and what to change."
_CONTEXT = {"help_option_names": ["--help", "-h"], "max_content_width": 110}
# The base of what its parser raises, which Typer does not export.
USAGE_ERROR: Any = typer.BadParameter.__base__


def parse(args: Sequence[str]) -> Request | None:
    """Parse a command line.

    Returns:
        What to run; None where Typer has answered by itself, as for ``--help`` and completion.

    Raises:
        ConfigError: an unknown command or flag, or a flag without its value.
    """
    completing = f"_{PROGRAM.upper()}_COMPLETE" in os.environ
    called = args[0] if args and not completing else ""
    group: Any = typer.main.get_command(application(None if completing else called))
    # A command is called by itself: the group would first read its own options, for which Typer 0.29 imports pydantic.
    command = group.commands.get(called)
    name = f"{PROGRAM} {called}" if command else PROGRAM
    rest = list(args[1:] if command else args)
    try:
        answer = (command or group).main(args=rest, prog_name=name, standalone_mode=False)
    except USAGE_ERROR as error:
        raise ConfigError(_message(error, name)) from None
    if isinstance(answer, Request):
        return answer
    if answer:  # the exit code that Typer makes of Ctrl-C
        raise KeyboardInterrupt
    return None


def application(called: str | None = None) -> typer.Typer:
    """The Typer application, with every command.

    Args:
        called: the only command whose flags are wanted, since making all takes time; None: all.
    """
    app = typer.Typer(
        context_settings=_CONTEXT,
        rich_markup_mode=None,  # rich takes longer to import than the help takes in all
        pretty_exceptions_enable=False,
    )
    summary = (about or "").partition(": ")[2].strip()
    app.callback(
        invoke_without_command=True,
        help=f"{summary[:1].upper()}{summary[1:]}",
        epilog=_verbatim("Examples:", EXAMPLES[PROGRAM])
        + "\n\nExit codes: 0 done, 2 a mistake in what was given, 3 a gate of evaluate failed, 130 interrupted."
        " Standard output carries only the result.",
    )(_main)
    for name in [*COMMANDS, DOCTOR]:
        summary = DOCTOR_SUMMARY if name == DOCTOR else (COMMANDS[name].__doc__ or "").splitlines()[0]
        app.command(
            name,
            cls=_GroupedCommand,
            context_settings=_CONTEXT,
            help=summary,
            short_help=summary,
            epilog=_verbatim("Examples:", EXAMPLES.get(name, ())),
        )(_function(name) if called in (None, name) else lambda: None)
    return app


class _GroupedCommand(TyperCommand):
    """A command whose plain help keeps flags in their groups, as Typer's rich help does."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = getattr(parameter, "rich_help_panel", None) or "Run"
                groups.setdefault(title, []).append(record)
        groups["Run"] = groups.pop("Run")  # what every command has comes last
        for title, records in groups.items():
            with formatter.section(typer.style(title, bold=True)):
                formatter.write_dl(records, col_max=34)


def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise ConfigError(
            f"No command given. Commands: {', '.join([*COMMANDS, DOCTOR])}; see {PROGRAM} --help."
        )


def _function(command: str) -> Callable[..., Request]:
    """A function whose signature has a parameter for every flag of the command."""
    options = option_leaves(command)
    controls = leaves(invocation_class(command))

    def run(run: str | list[str] | None = None, **given: Any) -> Request:
        values = {name: value for name, value in given.items() if value is not None and value != []}
        return Request(
            command=command,
            inputs=(run,) if isinstance(run, str) else tuple(run or ()),
            invocation={path: values[_name(path)] for path in controls if _name(path) in values},
            flags={path: values[_name(path)] for path in options if _name(path) in values},
        )

    quick = preset_values("quick", command)
    argument = _argument(command)
    reads = COMMANDS.get(command, COMMANDS[DOCTOR_COMMANDS[0]]).sources
    hidden = () if reads else ("source",)  # --from, which a command that reads no run refuses with a reason
    parameters = [
        _parameter(leaf, quick.get(leaf.path), hidden=leaf.path in hidden)
        for leaf in [*options.values(), *controls.values()]
        if leaf.spec.flags
    ]
    run.__signature__ = inspect.Signature([*argument, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _argument(command: str) -> list[inspect.Parameter]:
    """The positional argument, of a command that reads runs."""
    cls = COMMANDS.get(command, COMMANDS[DOCTOR_COMMANDS[0]])
    if not cls.sources and not cls.many:
        return []
    one = f"Input run of kind {' or '.join(cls.sources)}; the same as --from."
    many = "Runs, or folders of runs; their ancestors are found by themselves. [default: all of --runs]"
    kind: Any = list[str] if cls.many else str
    argument = typer.Argument(
        metavar=cls.argument,
        help=cls.argument_help or (many if cls.many else one),
        autocompletion=run_completer(),
        show_default=False,
        rich_help_panel=cls.group if command != DOCTOR else "Run",
    )
    return [
        inspect.Parameter(
            "run",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=Annotated[kind | None, argument],
        )
    ]


def _parameter(leaf: Leaf, quick: object, *, hidden: bool) -> inspect.Parameter:
    """An optional parameter, None where the flag is not given."""
    flags = list(leaf.spec.flags)
    switch = bool in members(leaf.annotation)
    kind: Any = bool if switch else list[str] if leaf.path == "sets" else str
    if switch and leaf.group != "Run":
        flags = [f"{flag}/--no-{flag.removeprefix('--')}" for flag in flags]
    option = typer.Option(
        *flags,
        help=_help(leaf, quick),
        metavar=None if switch else leaf.metavar,
        show_default=False,
        rich_help_panel=leaf.group,
        hidden=hidden,
        autocompletion=None if switch else completer(leaf),
    )
    return inspect.Parameter(
        _name(leaf.path),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _help(leaf: Leaf, quick: object) -> str:
    """A flag's help with its default, and that of the preset ``quick`` where it differs."""
    defaults = [f"default: {text}" for text in [leaf.spec.shown or _show(leaf.default)] if text]
    if quick is not None and quick != leaf.default:
        defaults.append(f"quick: {_show(quick)}")
    return f"{leaf.spec.help} [{'; '.join(defaults)}]" if defaults else leaf.spec.help


def _show(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, dict):
        return str(value.get("name", ""))
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _verbatim(title: str, lines: Sequence[str]) -> str:
    """A paragraph that click does not wrap."""
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])


def _name(path: str) -> str:
    return path.replace(".", "__")


def _message(error: Any, program: str) -> str:
    """One line for what Typer found wrong."""
    text: str = error.format_message()
    flag = getattr(error, "option_name", None)
    if flag is not None and hasattr(error, "possibilities"):
        parameters = error.ctx.command.get_params(error.ctx)
        known = [name.lstrip("-") for parameter in parameters for name in parameter.opts]
        hint = nearest(flag.lstrip("-"), known).replace("'", "'--", 1)
        text = f"No such option: {flag}.{hint}"
    return f"{text if text.endswith(('.', '?')) else f'{text}.'} See '{program} --help'."
