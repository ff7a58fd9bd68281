"""``--max-bad`` counts what was skipped when a source was opened: at once, in every command alike."""

from __future__ import annotations

import pytest

from command_lines import MODEL, TRAIN, Shell, write_data


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Pairs of which three lines have a comma too many."""
    shell = Shell(tmp_path_factory.mktemp("skipped") / "here")
    write_data(shell.folder)
    rows = (shell.folder / "pairs.csv").read_text().splitlines()
    (shell.folder / "commas.csv").write_text("\n".join([*rows, *["images/0.png,a, b"] * 3]) + "\n")
    return shell


@pytest.mark.parametrize(
    "command",
    [
        ("poison", "--image-size", 32, "--count", 5, "--templates", "simple", "--data"),
        ("augment", "--data"),
        ("defend", "--method", "ft", "--checkpoint", "none", *MODEL, *TRAIN, "--data"),
        ("doctor", "--method", "ft", *MODEL, *TRAIN, "--data"),
    ],
    ids=lambda command: command[0],
)
def test_more_skipped_lines_than_max_bad_allows(command: tuple[object, ...], shell: Shell) -> None:
    done = shell(*command, "commas.csv")
    assert done.code == 2
    assert "3 of 67 rows cannot be used, more than --max-bad 0.01 allows" in done.err
    assert "has 3 columns, not 2" in done.err
