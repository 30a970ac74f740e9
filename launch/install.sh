#!/usr/bin/env bash
# Makes .venv in the checkout and installs lnln_dist into it; run again, it only checks.
#   bash launch/install.sh [EXTRAS]        EXTRAS such as dev or dev,deepspeed,ray
#   PYTHON=python3.12    the interpreter to use (3.11 or later)
#   LNLN_VENV=DIR        where the environment goes (default .venv)
#   LNLN_TORCH=SPEC      what to give pip for torch, instead of the choice made below
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
venv=${LNLN_VENV:-.venv}
say() { printf 'install: %s\n' "$*" >&2; }

# pip only warns of an extra that it does not know, and installs nothing for it.
known=$(sed -n '/^\[options.extras_require\]/,/^\[/s/^\([a-z_]*\) *=.*/\1/p' setup.cfg | tr '\n' ' ')
for extra in ${extras//,/ }; do
    case " $known" in
        *" $extra "*) ;;
        *) say "no extra $extra; known: $known"; exit 2 ;;
    esac
done

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    say "no Python 3.11 or later found: install one or set PYTHON"
    exit 2
fi

# The stamp tells an installation that matches this setup.cfg from any other.
stamp="$venv/.lnln-dist-${extras//,/-}-$(cksum < setup.cfg | tr -d ' ')"
if [ -e "$stamp" ] && "$venv/bin/python" -c 'import lnln_dist' 2>/dev/null; then
    exit 0
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

if [ -n "${LNLN_TORCH:-}" ]; then
    torch=$LNLN_TORCH
elif command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    torch='torch>=2.13,<3' # the index's newest build, with CUDA
else
    torch='torch==2.13.0'
fi
say "$("$python" --version), $torch, extras: ${extras:-none} (takes some minutes the first time)"
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    # Word splitting is wanted: SPEC may hold options such as an index.
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $torch
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}"
"$venv/bin/python" -m pip check >/dev/null || "$venv/bin/python" -m pip check >&2
: > "$stamp"
