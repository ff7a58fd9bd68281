"""The table of rows that a run has scored: ``rows.parquet`` with the columns id, score and flagged.

Any run may write one besides its other outputs; ``--exclude-manifest`` excludes the flagged rows. Rows that are not
in the table are not flagged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipdefend.config.kinds import ROWS
from clipdefend.errors import RunError
from clipdefend.runs.files import atomic_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_rows(folder: Path, ids: Iterable[int], scores: Iterable[float], flagged: Iterable[bool]) -> Path:
    """Write the table of a run, atomically.

    Args:
        folder: of the run.
        ids: row numbers of the pairs that the run was made from, each at most once.
        scores: of each row, the more suspicious the larger; the scale is the run's own.
        flagged: whether each row is to be left out.

    Returns:
        The table's path.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array(ids, pa.int64()),
        "score": pa.array(scores, pa.float64()),
        "flagged": pa.array(flagged, pa.bool_()),
    }
    with atomic_file(folder / ROWS) as file:
        pq.write_table(pa.table(columns).sort_by("id"), file)
    return folder / ROWS


@contextlib.contextmanager
def rows_writer(folder: Path, names: Sequence[str]) -> Iterator[Callable[..., None]]:
    """Write the table of a run part by part, atomically.

    Args:
        folder: of the run.
        names: further columns of numbers, such as each of several scores.

    Yields:
        A function of the part's ids, ascending and behind those of the part before, scores, flags, and an array for
        each further column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [("id", pa.int64()), ("score", pa.float64()), ("flagged", pa.bool_())]
    schema = pa.schema([*kinds, *((name, pa.float64()) for name in names)])
    with atomic_file(folder / ROWS) as file, pq.ParquetWriter(file, schema) as writer:

        def write(*columns: Any) -> None:
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


def read_flagged(path: Path) -> NDArray[np.int64]:
    """Return the flagged rows of a table, ascending. Raises RunError when it is damaged."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["id"], filters=[("flagged", "==", True)])
        ids = np.unique(table.column("id").cast(pa.int64()).to_numpy())
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())[:160]}.") from error
    if len(ids) and ids[0] < 0:
        raise RunError(f"{path} is damaged: it flags row {ids[0]}.")
    return ids
