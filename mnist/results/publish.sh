#!/usr/bin/env bash
# Make the published runs, cheapest first, one at a time: `mnist/results/publish.sh`.
#
# A run that is published already is passed over; one that was interrupted goes on from its last
# finished epoch. So the queue can be stopped at any time, and started again.
set -euo pipefail
cd "$(dirname "$0")/../.."

publish() { # label script flags...
    local label=$1 name=$2 out=mnist/out/runs/$1
    shift 2
    [ -e "mnist/results/$label.log" ] && return
    python "mnist/$name.py" "$@" --out "$out" --resume
    for file in "$out/$name"*.{png,gif,txt}; do
        [ -e "$file" ] && cp "$file" "mnist/results/$label${file#"$out/$name"}"
    done
    cp "$out/$name.log" "mnist/results/$label.log"
}

publish logit logit
publish linear linear
publish conv-1-epoch conv --epochs 1
publish conv-3-epochs conv --epochs 3
publish conv-15-epochs conv --epochs 15
for seed in 0 1 2 3 4; do
    publish "conv-seed-$seed" conv --seed "$seed"
done
