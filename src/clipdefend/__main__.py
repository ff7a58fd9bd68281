"""``clipdefend`` and ``python -m clipdefend``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: its words after the program's name; those of this process by default.

    Returns:
        The exit code: 0 done, 2 the user's mistake, 3 a failed gate, 130 interrupted, or 1 after a traceback.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        # Imported here, for an interruption may come as early as this.
        from clipdefend.cli.boundary import guarded
        from clipdefend.interruption import ignore_signals

        code = guarded(lambda: _run(args), args)
        if argv is None:  # this process ends here
            ignore_signals()
    except KeyboardInterrupt:
        return 130
    return code


def _run(args: list[str]) -> int:
    from clipdefend import surroundings
    from clipdefend.cli.app import parse
    from clipdefend.distributed import launch
    from clipdefend.errors import ConfigError

    try:
        request = parse(args)
    except ConfigError:
        launch.connect()  # one process of several says so
        raise
    if request is None:
        return 0
    surroundings.tune_process()
    launch.connect()
    from clipdefend.cli.execute import execute

    return execute(request, args)


if __name__ == "__main__":
    sys.exit(main())
