"""Run folders: making, finding, reading and following them."""

from clipdefend.runs.context import Context
from clipdefend.runs.files import atomic_write, sha256_file
from clipdefend.runs.find import FINGERPRINT, find_augment, find_run, inherited_data, newest_runs, read_path
from clipdefend.runs.folder import RunDir
from clipdefend.runs.manifest import MANIFEST, SCHEMA, STATE, UNFINISHED, Run, plain
from clipdefend.runs.unfinished import Unfinished, find_unfinished

__all__ = [
    "FINGERPRINT",
    "MANIFEST",
    "SCHEMA",
    "STATE",
    "UNFINISHED",
    "Context",
    "Run",
    "RunDir",
    "Unfinished",
    "atomic_write",
    "find_augment",
    "find_run",
    "find_unfinished",
    "inherited_data",
    "newest_runs",
    "plain",
    "read_path",
    "sha256_file",
]
