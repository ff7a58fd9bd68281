"""Two processes of the program, as accelerate's launcher starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import clipdefend
from command_lines import Shell

SETTINGS = Path(__file__).parents[1] / "examples" / "launch" / "two-cpu-processes.yaml"
TIMEOUT = 240.0


def launch(place: Shell, *args: object, script: Path | None = None) -> subprocess.Popen[str]:
    """Start two processes of the program, or of a script that stands for it."""
    port = ("--main_process_port", "0")
    command = (sys.executable, "-m", "accelerate.commands.launch", "--config_file", SETTINGS, *port)
    return subprocess.Popen(
        [*map(str, command), *(["-m", "clipdefend"] if script is None else [str(script)]), *map(str, args)],
        cwd=place.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(clipdefend.__file__).parents[1])},
    )


def end_of(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return out, err, process.returncode
