"""Runs that cannot be used: damaged, foreign, hostile, missing, unfinished or of another kind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.config import PoisonConfig, RunConfig
from clipdefend.errors import RunError
from clipdefend.runs import MANIFEST, SCHEMA, Run, RunDir, find_run, read_path


def make(runs: Path, config: RunConfig) -> Run:
    with RunDir.begin(runs, config, "x") as run:
        return run.finish()


def rewrite(run: Run, **changes: Any) -> None:
    document = {**run.manifest, **changes}
    run.file.write_text(yaml.safe_dump({key: value for key, value in document.items() if value != "DROP"}))


BAD_MANIFESTS: list[tuple[str, bytes, str]] = [
    ("no YAML", b"{", "is not valid YAML"),
    ("binary", b"\x89PNG\r\n\x1a\n\xff", "is not UTF-8 text"),
    ("empty", b"", "it has no schema version"),
    ("a list", b"- 1", "it has no schema version"),
    ("foreign", b"name: CI\non: push\n", "it has no schema version"),
    ("of the future", b"schema: clipdefend/run/99", f"this version reads {SCHEMA!r}"),
    ("without fields", f"schema: {SCHEMA}".encode(), "'command' is missing or not a str"),
    ("huge", b"#" * 2_000_001, "is larger than 2000 kB"),
    ("a bomb", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "uses a YAML alias"),
    ("deep", b"a: " + b"[" * 5000, "is nested deeper than"),
    ("code", b"!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ("a list as a key", b"schema: 1\n[1, 2]: 3\n", "line 2: a key is a list or a mapping"),
    ("a mapping as a key", b"? {a: 1}\n: 3\n", "a key is a list or a mapping"),
    ("more than a number", b"schema: 1" + b"0" * 400, "a number has more than 64 bits"),
    ("bytes", b"schema: !!binary aGVsbG8=\n", "binary values have no meaning here"),
    ("a date", b"schema: 2020-01-01\n", "has schema '2020-01-01'"),
    ("repeated keys", b"schema: 1\nschema: 2\n", "key 'schema' appears twice"),
]


@pytest.mark.parametrize(
    ("kind", "content", "message"), BAD_MANIFESTS, ids=[case[0] for case in BAD_MANIFESTS]
)
def test_bad_manifests(kind: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": 5}, "'command' is missing or not a str"),
        ({"config": "DROP"}, "'config' is missing or not a dict"),
        ({"outputs": {}}, "'outputs' is missing or not a list"),
        ({"parents": ["x"]}, "an entry of 'parents' lacks path or sha256"),
        ({"parents": [{"path": 1, "sha256": "0"}]}, "an entry of 'parents' lacks path or sha256"),
        ({"parents": [{"path": "a\0b", "sha256": "0"}]}, "a path among 'parents' has a NUL character"),
        ({"metrics": {"n_clean": "many"}}, "metric 'n_clean' is not a number"),
        ({"metrics": {"ba@1": [0.5]}}, "metric 'ba@1' is not a number"),
        ({"outputs": [{"path": "x"}]}, "an entry of 'outputs' lacks path or sha256"),
    ],
)
def test_damaged_fields(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = make(tmp_path, PoisonConfig())
    rewrite(run, **changes)
    with pytest.raises(RunError, match=message):
        Run.open(run.path)


def test_runs_that_cannot_be_read(tmp_path: Path) -> None:
    def refusal(given: str, kinds: tuple[str, ...] = ("poison",)) -> str:
        with pytest.raises(RunError) as caught:
            find_run(tmp_path / "runs", kinds, given)
        return str(caught.value)

    run = make(tmp_path / "runs", PoisonConfig())
    unfinished = RunDir.begin(tmp_path / "runs", PoisonConfig(), "x")
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("")
    assert "does not exist. Give a run folder or its manifest.yaml." in refusal("nowhere")
    assert "is unfinished. Continue it with --resume" in refusal(str(unfinished.path))
    assert "is not a finished run: it has no manifest.yaml." in refusal(str(tmp_path / "other"))
    assert "is not a finished run" in refusal(str(tmp_path / "file"))
    assert "does not exist" in refusal(str(tmp_path / "file" / "x"))
    assert "File name too long" in refusal("x" * 5000)
    kinds = ("defend", "finetune-attack")
    assert "is of kind 'poison'; 'defend' or 'finetune-attack' is needed here." in refusal(run.name, kinds)


def test_no_run_at_all(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="Make one with 'clipdefend poison', or give one by --from RUN"):
            find_run(folder, ("poison",), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: the command before the pipe failed"),
        ("\n \n", "is empty"),
        ("a\nb\n", "is not the path of a run; commands print it unless --json is given"),
        ("x" * 5000, "is not the path of a run"),
    ],
)
def test_bad_standard_input(text: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        read_path(io.StringIO(text))


def test_standard_input_of_bytes_that_are_not_text() -> None:
    with pytest.raises(RunError, match="is empty"):
        read_path(io.TextIOWrapper(io.BytesIO(b"\xff\xfe\xff"), encoding="utf-8"))


def test_a_terminal_is_not_a_pipe() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(RunError, match="a terminal here"):
        read_path(Terminal("x"))
