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


def test_max_bad_can_be_raised_on_resume_as_its_message_advises(
    shell: Shell,
) -> None:
    """A run whose bad rows are met in the middle of an epoch; its state is kept, and the limit alone may change."""
    rows = (shell.folder / "pairs.csv").read_text().splitlines()
    for place in range(3, 63, 20):
        rows[place] = rows[place].replace("photos/", "absent/")
    (shell.folder / "absent.csv").write_text("\n".join(rows) + "\n")
    line = ("defend", "--method", "ft", "--checkpoint", "none", *MODEL, *TRAIN, "--data", "absent.csv")
    kept = ("--epochs", 1, "--batch-size", 8, "--save-every", 1)
    done = shell(*line, *kept, "--max-bad", 0.02, "--out", "many")
    assert done.code == 2
    assert "--max-bad 0.02 allows" in done.errors[0]
    assert "raise --max-bad" in done.errors[0]
    assert done.errors[0].endswith("'clipdefend defend --resume many'.")
    again = shell("defend", "--resume", "many")
    assert (again.code, "--max-bad 0.02 allows" in again.err) == (2, True)
    other = shell("defend", "--resume", "many", "--lr", 0.5)
    assert (other.code, "--lr" in other.err or "train.lr" in other.err) == (2, True)
    raised = shell("defend", "--resume", "many", "--max-bad", 0.2)
    assert raised.code == 0, raised.err
    with shell.inside():
        manifest = raised.manifest
    assert manifest["config"]["max_bad"] == 0.2
