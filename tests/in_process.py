"""Runs of a graph made in this process, one after the other: a process for each would take seconds to start."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipdefend.__main__ import main

_one = threading.Lock()


class InProcess:
    """Takes the place of the fork servers in ``study.carry_out``."""

    def run(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
        text = io.StringIO()
        with _one, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            code = main(words)
        with log.open("a") as file:
            file.write(text.getvalue())
        return code

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass
