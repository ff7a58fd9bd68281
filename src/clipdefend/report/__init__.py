"""The report of any number of runs: tables, plots and one page, with where every number comes from."""
