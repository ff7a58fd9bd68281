"""Reports on any number of runs: tables, plots and one page, with the origin of every number."""
