"""``clipdefend`` and ``python -m clipdefend``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from clipdefend.cli.boundary import INTERRUPTED, guarded
from clipdefend.distributed import launch
from clipdefend.errors import ConfigError
from clipdefend.interruption import ignore_signals


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code of design: 0, 2, 3, 130, or 1 after a traceback."""
    args = list(sys.argv[1:] if argv is None else argv)
    code = guarded(lambda: _run(args), args)
    if argv is None and code == INTERRUPTED:  # this process ends here
        ignore_signals()
    return code


def _run(args: list[str]) -> int:
    from clipdefend.cli.app import parse

    try:
        request = parse(args)
    except ConfigError:
        launch.connect()  # one process of several says so
        raise
    if request is None:
        return 0
    launch.connect()
    from clipdefend.cli.execute import execute

    return execute(request, args)


if __name__ == "__main__":
    sys.exit(main())
