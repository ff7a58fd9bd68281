"""The typer application: generated from the configurations, it turns a command line into a request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Optional

import typer

from clipdefend.cli.help import flags_of
from clipdefend.cli.invocation import DOCTOR, DOCTOR_COMMANDS, invocation_class
from clipdefend.config import COMMANDS, Leaf, leaves
from clipdefend.config.coerce import members
from clipdefend.errors import ConfigError
from clipdefend.registry import nearest

# Typer's own name for what its parser raises; where that lives depends on the version.
USAGE_ERROR: Any = typer.BadParameter.__base__


@dataclass(frozen=True, kw_only=True)
class Request:
    """A parsed command line.

    Attributes:
        command: the name of one, also where the doctor looks at it.
        run: the positional argument, or None.
        inputs: the positional arguments of a command that reads many runs.
        invocation: field of ``Invocation`` -> value, for the flags that were given.
        flags: dotted path of the configuration -> text or bool, for the flags that were given.
        doctor: whether the command is only to be looked at, by ``clipdefend doctor``.
    """

    command: str
    run: str | None
    invocation: dict[str, Any]
    flags: dict[str, Any]
    doctor: bool = False
    inputs: tuple[str, ...] = ()


def parse(args: Sequence[str]) -> Request:
    """Parse a command line.

    Raises:
        ConfigError: no command, an unknown command or flag, or a flag without its value.
    """
    names = ", ".join([*COMMANDS, DOCTOR])
    if not args:
        raise ConfigError(f"No command given. Commands: {names}; see clipdefend --help.")
    command = args[0]
    if command.startswith("-"):
        raise ConfigError(f"{command!r} stands before the command; write one of these first: {names}.")
    if command == DOCTOR:
        return _examined(args[1:])
    if command not in COMMANDS:
        hint = nearest(command, [*COMMANDS, DOCTOR])
        raise ConfigError(f"{command!r} is no command.{hint} Commands: {names}.")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(command, add_help_option=False)(_function(command))
    try:
        request = typer.main.get_command(app).main(
            args=list(args[1:]), prog_name=f"clipdefend {command}", standalone_mode=False
        )
    except USAGE_ERROR as error:
        raise ConfigError(_usage_message(error, command)) from None
    if not isinstance(request, Request):  # typer turns Ctrl-C into an exit code
        raise KeyboardInterrupt
    return request


def _examined(args: Sequence[str]) -> Request:
    """The command line that the doctor is to look at: the flags are those of the command that it names."""
    command, rest = DOCTOR_COMMANDS[0], list(args)
    for place, arg in enumerate(args):
        if arg == "--command" and place + 1 < len(args):
            command, rest = args[place + 1], [*args[:place], *args[place + 2 :]]
        elif arg.startswith("--command="):
            command, rest = arg.partition("=")[2], [*args[:place], *args[place + 1 :]]
    if command not in DOCTOR_COMMANDS:
        raise ConfigError(
            f"doctor --command {command!r} is not to be had: give {' or '.join(DOCTOR_COMMANDS)}."
        )
    request = parse([command, *rest])
    if "train.resume" in request.flags:
        raise ConfigError("doctor looks at a run that is not begun: leave --resume out.")
    return replace(request, doctor=True)


def _function(command: str) -> Callable[..., Request]:
    """A function whose signature has a parameter for every flag of the command."""
    settings = leaves(COMMANDS[command])
    controls = leaves(invocation_class(command))

    def run(run: str | list[str] | None = None, **given: Any) -> Request:
        values = {name: value for name, value in given.items() if value is not None and value != []}
        return Request(
            command=command,
            run=run if isinstance(run, str) else None,
            inputs=() if isinstance(run, str) else tuple(run or ()),
            invocation={path: values[_name(path)] for path in controls if _name(path) in values},
            flags={path: values[_name(path)] for path in settings if _name(path) in values},
        )

    kind: Any = list[str] if COMMANDS[command].many else str
    positional = inspect.Parameter(
        "run",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[Optional[kind], typer.Argument()],  # noqa: UP045  # what typer 0.15 reads
    )
    takes_run = [positional] if COMMANDS[command].sources or COMMANDS[command].many else []
    flags = [_parameter(leaf) for leaf in [*settings.values(), *controls.values()] if leaf.spec.flags]
    run.__signature__ = inspect.Signature([*takes_run, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _parameter(leaf: Leaf) -> inspect.Parameter:
    """An optional parameter, None where the flag is not given; values stay text, to be read in one place."""
    flags = list(leaf.spec.flags)
    kind: Any = str
    if bool in members(leaf.annotation):
        kind = bool
        flags = [f"{flag}/--no-{flag.removeprefix('--')}" for flag in flags]
    elif leaf.path == "sets":
        kind = list[str]
    return inspect.Parameter(
        _name(leaf.path),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[kind], typer.Option(*flags, help=leaf.spec.help)],  # noqa: UP045
    )


def _name(path: str) -> str:
    return path.replace(".", "__")


def _usage_message(error: Any, command: str) -> str:
    """One line for what typer's parser found wrong."""
    unknown = getattr(error, "option_name", None)
    if unknown is not None and hasattr(error, "possibilities"):
        known = {flag.lstrip("-"): flag for flag in flags_of(command)}
        hint = nearest(unknown.lstrip("-"), list(known)).replace("'", "'--", 1)
        return f"{unknown!r} is no flag of {command}.{hint} See clipdefend {command} --help."
    return f"{command}: {error.format_message()}"
