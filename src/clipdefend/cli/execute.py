"""Runs a parsed command line: configuration, command, result."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clipdefend.cli.invocation import DOCTOR, Examined, Invocation, invocation_class, option_leaves
from clipdefend.cli.request import Request
from clipdefend.cli.streams import drop_output, json_line, write_result
from clipdefend.components import check_components
from clipdefend.config import (
    COMMANDS,
    Leaf,
    RunConfig,
    kind_of,
    leaves,
    load_config,
    preset_difference,
    to_yaml,
)
from clipdefend.config.coerce import coerce
from clipdefend.console import Console
from clipdefend.distributed import launch
from clipdefend.errors import ClipDefendError, ConfigError, GateFailed, Interrupted
from clipdefend.runs import (
    Context,
    Run,
    Unfinished,
    find_inherited_data,
    find_run,
    find_unfinished,
    newest_runs,
    read_path,
)


class Result(Protocol):
    """What a command returns: a run, or a report."""

    @property
    def file(self) -> Path: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A command's configuration and its surroundings."""

    config: RunConfig
    context: Context


def execute(request: Request, args: list[str]) -> int:
    """Run a request and print its result.

    Returns:
        The exit code.

    Raises:
        ClipDefendError: the user's mistake.
        GateFailed: a bound was missed; the result has been printed.
    """
    invocation = read_invocation(request)
    if getattr(invocation, "list", False):
        from clipdefend.cli.listing import listing

        _print(listing(as_json=invocation.json))
        return 0
    prepared = prepare(request, invocation, args)
    check_components(prepared.config)
    if invocation.dry_run:
        _print(to_yaml(prepared.config))
        return 0
    _announce_preset(prepared)
    if request.command == DOCTOR:
        return launch.current().from_main(lambda: _examine(prepared, invocation))
    with prepared.context.explain_interruption():
        return _carry_out(request, prepared, invocation)


def _carry_out(request: Request, prepared: Prepared, invocation: Invocation) -> int:
    """Run a command and print its result."""
    command = _module(request.command)
    try:
        # Standard output is the result's alone, whatever a library prints on the way.
        with contextlib.redirect_stdout(sys.stderr):
            run = _run(command.run, prepared)
    except GateFailed as failed:
        try:
            _print_result(Run.open(failed.manifest), invocation)
        except BrokenPipeError:  # a reader that has gone makes no failed gate pass
            drop_output(sys.stdout)
        raise
    if run is not None:
        try:
            _print_result(run, invocation)
        except KeyboardInterrupt:
            raise Interrupted(run.file.parent, finished=True) from None
    return 0


def _module(command: str) -> Any:
    """The module that runs a command, imported when it is needed."""
    name = command.replace("-", "_")
    return importlib.import_module(f"clipdefend.commands.{name}.run_{name}")


def _examine(prepared: Prepared, invocation: Invocation) -> int:
    """Print the doctor's findings. Raises ClipDefendError for a configuration that cannot work."""
    launch.alone()
    doctor = _module("doctor")
    with contextlib.redirect_stdout(sys.stderr):
        diagnosis = doctor.run(prepared.config, prepared.context)
    if invocation.json:
        _print(json_line(diagnosis.to_dict()))
    else:
        _print(diagnosis.verdict)
    if diagnosis.faults:
        raise ClipDefendError(" ".join(f"{fault.name}: {fault.found}" for fault in diagnosis.faults))
    return 0


def _run(command: Callable[[RunConfig, Context], Result], prepared: Prepared) -> Result | None:
    """Run a command on all processes or, where they would not gain, on the first while the others wait.

    Returns:
        The result; None in processes that only waited.
    """
    if kind_of(prepared.config.command).parallel or launch.current().world == 1:
        return command(prepared.config, prepared.context)
    made: list[Result] = []

    def alone() -> None:
        launch.alone()
        made.append(command(prepared.config, prepared.context))

    launch.current().from_main(alone)
    return made[0] if made else None


def read_invocation(request: Request) -> Invocation:
    """The flags about how a command is run."""
    cls = invocation_class(request.command)
    _refuse_empty(request, {**leaves(cls), **option_leaves(request.command)})
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in request.invocation.items()
    }
    if request.command == DOCTOR and "command" in values:
        values["command"] = coerce(values["command"], Examined, "--command")
    return cls(**values)


def _refuse_empty(request: Request, known: Mapping[str, Leaf]) -> None:
    """Raise ConfigError for "", which a shell makes of a variable that is not set: it would count as left out."""
    for path, value in {**request.invocation, **request.flags}.items():
        if value == "":
            raise ConfigError(f"{known[path].spec.flags[0]} is empty. Give it a value, or leave it out.")
    if "" in request.inputs:
        raise ConfigError(f"An argument of {request.command} is empty. Give it a value, or leave it out.")


def prepare(request: Request, invocation: Invocation, args: list[str]) -> Prepared:
    """Resolve the input, the configuration and the places."""
    cls = COMMANDS[getattr(invocation, "command", request.command)]
    for path in request.flags:
        if path not in leaves(cls):  # of another command that the doctor examines
            flag = option_leaves(request.command)[path].spec.flags[0]
            raise ConfigError(f"{flag} is not an option of {cls.command}. Leave it out.")
    runs = Path(invocation.runs)
    source = _source(request, invocation, cls)
    given = source is not None
    unfinished = _resumed(request, runs, invocation)
    if unfinished is not None:
        source = source or unfinished.source
    config = load_config(
        cls,
        file=invocation.file,
        flags=request.flags,
        sets=invocation.sets,
        recorded=unfinished.config if unfinished else None,
        inherited_data=launch.current().from_main(lambda: _inherited(runs, cls, source))
        or ("builtin" if request.command == DOCTOR else None),
        source_given=given,
    )
    console = Console(quiet=invocation.quiet, silent=not launch.current().main)
    out = Path(invocation.out) if invocation.out is not None else None
    many = request.inputs if cls.many else ()
    inputs = tuple(launch.current().from_main(lambda: [_given(path) for path in many]))
    typed = frozenset(
        (*request.flags, *request.invocation, *(text.split("=")[0] for text in invocation.sets))
    )
    context = Context(
        runs=runs, source=source, inputs=inputs, out=out, console=console, cli_args=args, given=typed
    )
    return Prepared(config=config, context=context)


def _source(request: Request, invocation: Invocation, cls: type[RunConfig]) -> str | None:
    """The input run as given, or None."""
    if cls.many:
        if invocation.source is not None:
            raise ConfigError(f"{cls.command} reads many runs: give {invocation.source!r} without --from.")
        return None
    (first,) = request.inputs or (None,)
    if first is not None and invocation.source is not None:
        raise ConfigError(
            f"The input run is given twice, as {first!r} and as --from {invocation.source!r}; give one."
        )
    source = first if first is not None else invocation.source
    if source is not None and not cls.sources:
        raise ConfigError(f"{cls.command} reads no run, but --from {source!r} was given. Leave it out.")
    return launch.current().from_main(lambda: _given(source)) if source is not None else None


def _given(path: str) -> str:
    """The path as given, or read from standard input for ``-``."""
    if path != "-":
        return path
    try:
        return read_path(sys.stdin)
    except OSError as error:
        raise ConfigError(f"Standard input cannot be read: {error.strerror}.") from None


def _resumed(request: Request, runs: Path, invocation: Invocation) -> Unfinished | None:
    """The unfinished run that ``--resume`` names, whose recorded configuration is the base of this one."""
    resume = request.flags.get("train.resume")
    if resume is None:
        return None
    if invocation.out is not None:
        raise ConfigError("--out and --resume cannot be combined: a resumed run stays in its folder.")
    path = launch.current().from_main(lambda: str(find_unfinished(runs, request.command, resume).path))
    return find_unfinished(runs, request.command, path)


def _inherited(runs: Path, cls: type[RunConfig], source: str | None) -> str | None:
    """Return the data that the input run descends from, which chooses the preset; None if there is no run."""
    if not cls.sources:
        return None
    try:
        if source is not None:
            return find_inherited_data(find_run(runs, cls.sources, source))
        run = next(newest_runs(runs, cls.sources), None)
        return find_inherited_data(run) if run is not None else None
    except ClipDefendError:  # the command meets it again and reports it, unless it does without an input run
        return None


def _announce_preset(prepared: Prepared) -> None:
    changed = preset_difference(prepared.config)
    if changed:
        values = ", ".join(f"{path} {value}" for path, value in changed.items())
        others = " The papers' values: --preset paper." if prepared.config.preset == "quick" else ""
        prepared.context.console.info(f"Preset {prepared.config.preset}: {values}.{others}")


def _print_result(run: Result, invocation: Invocation) -> None:
    if invocation.json:
        _print(json_line(dict(run.manifest)))
        return
    text = getattr(run, "text", None)
    if text is not None:
        _print(text)
        return
    relative = os.path.relpath(run.file)
    _print(str(run.file) if relative.startswith(os.pardir) else relative)


def _print(text: str) -> None:
    if launch.current().main:
        write_result(text)
