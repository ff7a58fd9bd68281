"""What people see: where it goes, what it keeps to one line and how often it speaks."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from clipdefend.console import Console, duration, is_terminal, one_line, plain_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def plain(**given: object) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(stream=stream, decorated=False, **given), stream  # type: ignore[arg-type]


def test_everything_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.info("read 5 pairs")
    console.warn("few pairs")
    console.table("Result", ["model", "ba@1"], [["victim", 0.5]])
    with console.progress("Attack", total=1) as bar:
        bar.update()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(
        "read 5 pairs\nwarning: few pairs\nResult\nmodel   ba@1\nvictim   0.5\nAttack: 1/1"
    )


def test_warnings_are_kept_for_the_manifest_and_not_repeated() -> None:
    console, stream = plain()
    for line in ("one", "two", "one"):
        console.warn(line)
    assert console.warnings == ["one", "two"]
    assert stream.getvalue() == "warning: one\nwarning: two\n"


def test_quiet_leaves_warnings_and_silent_leaves_nothing() -> None:
    for given, shown in (({"quiet": True}, "warning: w\n"), ({"silent": True}, "")):
        console, stream = plain(**given)
        console.info("i")
        console.warn("w")
        console.table("t", ["a"], [["b"]])
        with console.progress("p", total=2) as bar:
            bar.update(2)
        assert stream.getvalue() == shown
        assert console.warnings == ["w"]


def test_lines_stay_lines_and_send_nothing_to_the_terminal() -> None:
    assert one_line("a\nb\tc  d\r\n") == "a b c d"
    assert one_line("\x1b[31mred\x1b[0m\x07") == "\\x1b[31mred\\x1b[0m\\x07"
    assert one_line("caf\u00e9 \u202egnp") == "caf\u00e9 \\u202egnp"
    console, stream = plain()
    console.info("[bold]x[/bold]\n[/]")
    assert stream.getvalue() == "[bold]x[/bold] [/]\n"


def test_plain_progress_speaks_every_ten_seconds_and_at_the_end() -> None:
    clock = Clock()
    console, stream = plain(clock=clock)
    with console.progress("Attack", total=100) as bar:
        for _ in range(100):
            clock.seconds += 0.25
            bar.update(loss=0.123456, lr=1e-5)
    # Four units a second: 40 are done after 10 s, 80 after 20 s, all after 25 s.
    assert stream.getvalue().splitlines() == [
        "Attack: 40/100  4/s  loss 0.1235  lr 1e-05  0:15 left",
        "Attack: 80/100  4/s  loss 0.1235  lr 1e-05  0:05 left",
        "Attack: 100/100  4/s  loss 0.1235  lr 1e-05  took 0:25",
    ]


def test_progress_without_a_total_and_from_an_earlier_session() -> None:
    clock = Clock()
    console, stream = plain(clock=clock)
    with console.progress("Read") as bar:
        clock.seconds += 2
        bar.update(3000)
    with console.progress("Train", total=20, done=10) as bar:
        clock.seconds += 5
        bar.update(5)
    assert stream.getvalue().splitlines() == [
        "Read: 3000  1,500/s  took 0:02",
        "Train: 15/20  1/s  0:05 left  took 0:05",
    ]


def test_a_step_that_fails_has_no_last_line() -> None:
    console, stream = plain()
    with pytest.raises(RuntimeError), console.progress("Attack", total=2):
        raise RuntimeError
    assert stream.getvalue() == ""


def test_a_terminal_gets_bars_one_inside_the_other() -> None:
    stream = Terminal()
    console = Console(stream=stream, decorated=True)
    with console.progress("Attack", total=2) as bar:
        bar.update(loss=0.5)
        with console.progress("Evaluate", total=4) as inner:
            inner.update(4)
            console.info("[not markup]")
        bar.update()
    console.table("Result [x]", ["model", "[ba]"], [["a[b]", 1]])
    shown = stream.getvalue()
    assert "\x1b[" in shown
    for text in ("Attack: 2/2", "loss 0.5", "Evaluate: 4/4", "[not markup]", "a[b]", "[x]"):
        assert text in shown


def test_a_reader_that_left_does_not_stop_the_work() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    console = Console(stream=Closed(), decorated=False)
    console.info("one")
    console.warn("two")
    assert console.warnings == ["two"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"CI": "true"}, False),
        ({"CI": "1"}, False),
        ({"CI": "false"}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_ci_and_dumb_terminals_get_plain_lines(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_terminal(Terminal()) is expected
    assert is_terminal(io.StringIO()) is False


def test_durations_and_tables() -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 61, 3725, -1)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:02:05",
        "0:00",
    ]
    assert plain_table("T", ["a", "bb"], [["long", "1"], ["x", "222"]]) == [
        "T",
        "a      bb",
        "long    1",
        "x     222",
    ]


def test_rich_is_imported_only_when_something_is_drawn() -> None:
    code = "import sys, clipdefend.console as c; c.Console(decorated=False).info('x'); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_table_of_text_is_left_aligned() -> None:
    assert plain_table("T", ["a", "bb", "c"], [["long", "1", "x"], ["x", "222", "y"]], text=True) == [
        "T",
        "a     bb   c",
        "long  1    x",
        "x     222  y",
    ]


def test_one_long_caption_does_not_widen_a_table() -> None:
    out = io.StringIO()
    rows = [["a red cat " * 1500, "x", "last " * 30], ["a dog", "y", "z"]]
    Console(stream=out, decorated=False).table("T", ["caption", "b", "c"], rows, text=True)
    lines = out.getvalue().splitlines()
    assert lines[2].startswith("a red cat a red cat")
    assert "…  x  last last" in lines[2]
    assert [len(line) for line in (lines[1], lines[3])] == [66, 66]
