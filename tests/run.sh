#!/bin/sh
# Lint, types and all tests, the slow ones included. The tests come last: their closing line is the verdict.
set -eu
cd "$(dirname "$0")/.."
ruff check .
ruff format --check -q .
mypy
python -m pytest
