#!/bin/sh
# Lint, types, documentation and all tests, the slow ones included. The tests come last: their closing line is the verdict,
# and the line before it the coverage.
set -eu
cd "$(dirname "$0")/.."
ruff check .
ruff format --check -q .
mypy
NO_MKDOCS_2_WARNING=1 mkdocs build --strict -q
# Coverage costs a fifth of the time; where Python has sys.monitoring (3.12), almost nothing.
python -c 'import sys; sys.exit(sys.version_info < (3, 12))' && export COVERAGE_CORE=sysmon
# Two processes, a file at a time, with one thread each: threads of several processes on the same cores hinder each other.
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --cov --cov-report=
