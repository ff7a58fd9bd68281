"""What poison runs hold."""

from __future__ import annotations

import pyarrow.parquet as pq

from clipdefend.runs import Run, sha256_file


def files(run: Run) -> dict[str, str]:
    """Everything that a run holds but its manifest and its loss curve."""
    left_out = ("manifest.yaml", "metrics.jsonl")
    paths = [path for path in run.path.rglob("*") if path.is_file() and path.name not in left_out]
    return {str(path.relative_to(run.path)): sha256_file(path) for path in paths}


def rows_of(run: Run) -> set[int]:
    columns = pq.read_table(run.path / "pairs.parquet", columns=["id", "role"]).to_pydict()
    return {row for row, role in zip(columns["id"], columns["role"], strict=True) if role}
