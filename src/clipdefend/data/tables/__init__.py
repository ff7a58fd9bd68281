"""Streaming readers of tables: CSV, TSV, JSON lines and Parquet."""
