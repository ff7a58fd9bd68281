"""Where pairs are kept: the memory-mapped index, tar shards, byte ranges, remote files."""
