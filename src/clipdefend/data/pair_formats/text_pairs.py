"""Reads pairs from text tables: CSV, TSV and JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdefend.data.pair_formats.pair_format import Columns, Format, describe_columns, describe_files
from clipdefend.data.store.build import IndexWriter
from clipdefend.data.store.index import PATHS
from clipdefend.data.tables.csv_table import csv_rows, read_header
from clipdefend.data.tables.jsonl_table import jsonl_fields, jsonl_rows
from clipdefend.data.tables.text_columns import CAPTION_COLUMNS, IMAGE_COLUMNS, usable_captions, usable_paths


def write_csv(writer: IndexWriter, files: Sequence[Path], columns: Columns) -> str:
    for source, path in enumerate(files):
        wanted = ((columns.image, IMAGE_COLUMNS), (columns.caption, CAPTION_COLUMNS))
        header = read_header(path, columns.delimiter, wanted)
        image, caption = columns.choose(header.names, path)
        for paths, captions in csv_rows(path, header, (image, caption), writer.skip):
            writer.add(usable_paths(paths), usable_captions(captions), source)
        names = (header.names[image], header.names[caption])
    return f"CSV {describe_files(files)}: delimiter {header.delimiter!r}, {describe_columns(*names)}"


def write_jsonl(writer: IndexWriter, files: Sequence[Path], columns: Columns) -> str:
    for source, path in enumerate(files):
        fields = jsonl_fields(path)
        image, caption = columns.choose(fields, path)
        names = (fields[image], fields[caption])
        for paths, captions in jsonl_rows(path, names, writer.skip):
            writer.add(usable_paths(paths), usable_captions(captions), source)
    return f"JSON lines {describe_files(files)}: {describe_columns(*names)}"


CSV = Format("CSV", frozenset({".csv", ".tsv", ".txt"}), PATHS, write_csv)
JSONL = Format("JSON lines", frozenset({".jsonl", ".ndjson", ".json"}), PATHS, write_jsonl)
