"""Lines, tables and progress for people, on standard error and never on standard output.

In a terminal they are drawn with rich, which is imported with the first of them; elsewhere, and with ``CI=true``,
they are plain lines that keep a log readable.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TextIO, cast

from clipdefend.safe_stream import SafeStream

if TYPE_CHECKING:
    import rich.console
    import rich.progress

PLAIN_INTERVAL = 10.0

MAX_CELL = 60
"""Longest text in a table's cell, in characters; the last column is not cut."""


class Progress(Protocol):
    """The progress of a long step."""

    def update(self, n: int = 1, **values: object) -> None:
        """Count ``n`` more and show values such as ``loss=0.31, lr=1e-5`` beside rate and time left."""


class Console:
    """Standard error for people.

    Args:
        quiet: show warnings only.
        silent: show nothing, as in all but the main process; warnings are still collected.
        stream: where to write; standard error by default.
        decorated: draw with rich; by default in a terminal outside CI only.
        interval: seconds between two plain lines of progress.
        clock: seconds, for tests.

    Attributes:
        warnings: the lines given to ``warn``, for the manifest.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        silent: bool = False,
        stream: TextIO | None = None,
        decorated: bool | None = None,
        interval: float = PLAIN_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quiet = quiet or silent
        self.silent = silent
        self.warnings: list[str] = []
        self._given = stream
        self._decorated = is_terminal(self.stream) if decorated is None else decorated
        self._interval = interval
        self._clock = clock
        self._rich: rich.console.Console | None = None
        self._live: rich.progress.Progress | None = None

    @property
    def stream(self) -> TextIO:
        return self._given or sys.stderr

    @property
    def _safe(self) -> SafeStream:
        return SafeStream(self.stream)

    def info(self, line: str) -> None:
        """Show one line."""
        if not self.quiet:
            self._line(one_line(line), style=None)

    def warn(self, line: str) -> None:
        """Show a warning and keep it; one that was shown before is not repeated."""
        text = one_line(line)
        if text in self.warnings:
            return
        self.warnings.append(text)
        if not self.silent:
            self._line(f"warning: {text}", style="yellow")

    def command(self, line: str) -> None:
        """Write a line for another program, plain even in a terminal and shown even when quiet."""
        if not self.silent:
            self._write(one_line(line))

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, text: bool = False
    ) -> None:
        """Show a table: the first column left-aligned, the others right-aligned unless they are ``text`` too."""
        if self.quiet:
            return
        # One long caption must not widen its column for all; the last column pads nothing.
        cells = [
            [*(_cut(one_line(str(cell))) for cell in row[:-1]), *(one_line(str(cell)) for cell in row[-1:])]
            for row in rows
        ]
        if not self._decorated:
            for line in plain_table(title, columns, cells, text=text):
                self._line(line, style=None)
            return
        from rich.table import Table
        from rich.text import Text

        others: Literal["left", "right"] = "left" if text else "right"
        table = Table(title=Text(title), title_justify="left")
        for position, column in enumerate(columns):
            table.add_column(Text(column), justify=others if position else "left")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        self._rich_console().print(table)

    @contextmanager
    def progress(self, label: str, total: int | None = None, done: int = 0) -> Iterator[Progress]:
        """Show the progress of a long step.

        Args:
            label: name of the step.
            total: number of units, where it is known.
            done: units that an earlier session has done.
        """
        meter = _Meter(label, total, done, self._clock)
        if self.quiet:
            yield meter
        elif self._decorated:
            with self._live_progress() as live:
                bar = _RichBar(meter, live)
                try:
                    yield bar
                finally:
                    bar.close()
            self._line(f"{label}: {meter.summary()}", style=None)
        else:
            yield _PlainBar(meter, self._line, self._interval)
            self._line(f"{label}: {meter.summary()}", style=None)

    @contextmanager
    def _live_progress(self) -> Iterator[rich.progress.Progress]:
        """The one live display, in which steps inside a step are further bars."""
        if self._live is not None:
            yield self._live
            return
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=self._rich_console(), transient=True) as live:
            self._live = live
            try:
                yield live
            finally:
                self._live = None

    def _line(self, text: str, style: str | None) -> None:
        if self._decorated:
            from rich.text import Text

            self._rich_console().print(Text(text, style=style or ""), soft_wrap=True)
        else:
            self._write(text)

    def _write(self, text: str) -> None:
        self._safe.write(f"{text}\n")
        self._safe.flush()

    def _rich_console(self) -> rich.console.Console:
        if self._rich is None:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(file=cast("TextIO", self._safe), force_terminal=True, highlight=False)
        return self._rich


class _Meter:
    """Counts units and puts the count, the rate and the time left into words."""

    def __init__(self, label: str, total: int | None, done: int, clock: Callable[[], float]) -> None:
        self.label = label
        self.total = total
        self.done = done
        self._first = done
        self._clock = clock
        self._start = clock()
        self._values: dict[str, object] = {}

    def update(self, n: int = 1, **values: object) -> None:
        self.done += n
        self._values.update(values)

    def now(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def text(self) -> str:
        """Such as "120/625  35.2/s  loss 1.234  0:14 left"."""
        seconds = self.now()
        fresh = self.done - self._first
        rate = fresh / seconds if seconds > 0 else 0.0
        parts = [str(self.done) if self.total is None else f"{self.done}/{self.total}"]
        if rate > 0:
            parts.append(f"{rate:.3g}/s" if rate < 1000 else f"{rate:,.0f}/s")
        parts.extend(f"{name} {_short(value)}" for name, value in self._values.items())
        if rate > 0 and self.total is not None and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        return "  ".join(parts)

    def summary(self) -> str:
        return f"{self.text()}  took {duration(self.now())}"


class _PlainBar:
    """Progress as a line now and then."""

    def __init__(self, meter: _Meter, show: Callable[[str, None], None], interval: float) -> None:
        self._meter = meter
        self._show = show
        self._interval = interval
        self._last = meter.now()

    def update(self, n: int = 1, **values: object) -> None:
        self._meter.update(n, **values)
        now = self._meter.now()
        finished = self._meter.total is not None and self._meter.done >= self._meter.total
        if now - self._last >= self._interval and not finished:  # the end gets a separate line
            self._last = now
            self._show(f"{self._meter.label}: {self._meter.text()}", None)


class _RichBar:
    """Progress as a bar of the live display."""

    def __init__(self, meter: _Meter, live: rich.progress.Progress) -> None:
        self._meter = meter
        self._live = live
        self._task = live.add_task(meter.label, total=meter.total, completed=meter.done, text=meter.text())

    def update(self, n: int = 1, **values: object) -> None:
        self._meter.update(n, **values)
        self._live.update(self._task, completed=self._meter.done, text=self._meter.text())

    def close(self) -> None:
        self._live.remove_task(self._task)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal to draw on, which none in CI and no dumb one is."""
    if os.environ.get("CI", "").lower() in ("1", "true") or os.environ.get("TERM") == "dumb":
        return False
    return SafeStream(stream).isatty()


def one_line(text: str) -> str:
    """Text on one line, with control characters spelled out so that it sends nothing to the terminal."""
    joined = " ".join(text.split())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in joined)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def plain_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False
) -> list[str]:
    """Lines of a table in aligned columns; those from the second on are right-aligned unless they are ``text``."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[position]) for line in lines) for position in range(len(columns))]
    laid = []
    for line in lines:
        first, *others = (
            cell.rjust(width) if position and not text else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        laid.append("  ".join([first, *others]).rstrip())
    return [title, *laid]


def duration(seconds: float) -> str:
    """Seconds as text, such as "0:14" or "1:02:03"."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))
