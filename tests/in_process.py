"""Runs of a graph made in this process, one after the other: a process for each would take seconds to start."""

from __future__ import annotations

import contextlib
import io
import threading
from typing import Any

from clipdefend.__main__ import main

_one = threading.Lock()


class InProcess:
    """Takes the place of ``subprocess.Popen`` in ``study.carry_out``."""

    def __init__(self, words: list[str], *, stdout: Any, **_: Any) -> None:
        self.words, self.log = words[3:], stdout  # without the interpreter, -m and the program

    def wait(self) -> int:
        text = io.StringIO()
        with _one, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            code = main(self.words)
        self.log.write(text.getvalue().encode())
        return code

    def terminate(self) -> None:
        pass
