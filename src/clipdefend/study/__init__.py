"""Studies: grids of the other commands, as a graph in which equal steps are made once."""
