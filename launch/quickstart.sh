#!/usr/bin/env bash
# The main job on the built-in corpus: install, make data, prepare, train, evaluate under noise.
#   bash launch/quickstart.sh            trains with noise (the method)
#   bash launch/quickstart.sh clean      the same model trained without noise, for comparison
# Run again, it goes on where it stopped; remove data/demo, runs/demo*, results/demo* to start over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
    "") name=demo ;;
    clean) name=demo_clean ;;
    *) echo "quickstart: unknown argument $1; give none, or clean" >&2; exit 2 ;;
esac
bash launch/install.sh
bin=${LNLN_VENV:-.venv}/bin

if [ ! -e data/demo/index.json ]; then
    "$bin/lnln-dist" synthesize data/demo.pkl --dataset demo --overwrite
    "$bin/lnln-dist" prepare data/demo.pkl data/demo --dataset demo --tokenizer corpus
fi
"$bin/lnln-dist" train --config "configs/$name.yaml" --output "runs/$name" --resume
"$bin/lnln-dist" evaluate "runs/$name" --output "results/$name" --overwrite
cat <<EOF

Scores: results/$name/metrics.csv, every prediction: results/$name/predictions.parquet
Curves: $bin/tensorboard --logdir runs
An alarm about the completeness is no fault of this installation: whether LNLN's check learns is a matter of
the seed (README.md, "The completeness check").
EOF
