"""Tables read by streaming: CSV and its kin, JSON lines, Parquet."""
