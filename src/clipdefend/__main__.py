"""``clipdefend`` and ``python -m clipdefend``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from clipdefend import __version__
from clipdefend.cli.boundary import guarded
from clipdefend.distributed import launch


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code of design: 0, 2, 3, 130, or 1 after a traceback."""
    args = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(args), args)


def _run(args: list[str]) -> int:
    launch.connect()
    # Help and version come before the parser, whose import takes longer than they do.
    if asked := _information(args):
        if launch.current().main:
            sys.stdout.write(asked)
            sys.stdout.flush()
        return 0
    from clipdefend.cli.execute import execute
    from clipdefend.cli.parser import parse

    return execute(parse(args), args)


def _information(args: list[str]) -> str | None:
    if args[:1] == ["--version"]:
        return f"clipdefend {__version__}\n"
    if not {"--help", "-h"} & set(args):
        return None
    from clipdefend.cli.help import command_help, doctor_help, main_help
    from clipdefend.cli.invocation import DOCTOR
    from clipdefend.config import COMMANDS
    from clipdefend.console import is_terminal

    bold = is_terminal(sys.stdout)
    if args[0] == DOCTOR:
        return doctor_help(bold=bold)
    return command_help(args[0], bold=bold) if args[0] in COMMANDS else main_help(bold=bold)


if __name__ == "__main__":
    sys.exit(main())
