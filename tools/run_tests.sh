#!/usr/bin/env bash
# Style, spelling and tests, in the environment that tools/setup_env.sh makes or
# finds right. Arguments go to pytest:
#
#   bash tools/run_tests.sh                          all but the slow tests
#   bash tools/run_tests.sh -m slow                  the slow ones (-m "" for all)
#   bash tools/run_tests.sh tests/test_models -k head
#
# All checks run. The exit status is that of the first one that failed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
python=$(bash "$root/tools/setup_env.sh" --print-python)
cd "$root"

export PATH="${python%/*}:$PATH" # as if it were activated
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

status=0
check() {
  local result=0
  printf '\n== %s\n' "$*"
  "$@" || result=$?
  if ((status == 0)); then status=$result; fi
}

check python -m ruff check .
check python -m ruff format --check .
check python -m codespell_lib
# A process for each core, which takes up to 3 GB of memory.
check python -m pytest -n logical --maxprocesses 4 --dist loadfile "$@"
exit "$status"
