"""Storage of pairs: the memory-mapped index, tar shards, byte ranges and remote files."""
