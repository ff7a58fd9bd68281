"""Run folders: make, find and read them, and follow their parents."""

from clipdefend.runs.context import Context
from clipdefend.runs.details import (
    AugmentDetails,
    DefendDetails,
    EvaluateDetails,
    FilterDetails,
    MergeDetails,
    PoisonDetails,
    ScanDetails,
    TriggerDetails,
    WatchedPairs,
    details_of,
)
from clipdefend.runs.files import atomic_write, sha256_file
from clipdefend.runs.find import find_augment, find_inherited_data, find_run, newest_runs, read_path
from clipdefend.runs.folder import RunDir
from clipdefend.runs.manifest import (
    EXCLUDED,
    KEPT,
    MANIFEST,
    MERGED,
    NO_TRIGGER,
    SCHEMA,
    STATE,
    STEPS,
    UNFINISHED,
    UNLEARNT,
    Run,
    plain,
)
from clipdefend.runs.pairs_details import CanvasRecord, PairsDetails, PairsSource
from clipdefend.runs.recorded import Details
from clipdefend.runs.training_details import CleanDetails, FinetuneAttackDetails, TrainingDetails
from clipdefend.runs.unfinished import Unfinished, find_unfinished

__all__ = [
    "EXCLUDED",
    "KEPT",
    "MANIFEST",
    "MERGED",
    "NO_TRIGGER",
    "SCHEMA",
    "STATE",
    "STEPS",
    "UNFINISHED",
    "UNLEARNT",
    "AugmentDetails",
    "CanvasRecord",
    "CleanDetails",
    "Context",
    "DefendDetails",
    "Details",
    "EvaluateDetails",
    "FilterDetails",
    "FinetuneAttackDetails",
    "MergeDetails",
    "PairsDetails",
    "PairsSource",
    "PoisonDetails",
    "Run",
    "RunDir",
    "ScanDetails",
    "TrainingDetails",
    "TriggerDetails",
    "Unfinished",
    "WatchedPairs",
    "atomic_write",
    "details_of",
    "find_augment",
    "find_inherited_data",
    "find_run",
    "find_unfinished",
    "newest_runs",
    "plain",
    "read_path",
    "sha256_file",
]
