#!/usr/bin/env bash
# Make the published runs, cheapest first, one at a time: `mnist/results/publish.sh`.
#
# A run that is published already is passed over; one that was interrupted goes on from its last
# finished epoch. So the queue can be stopped at any time, and started again.
set -euo pipefail
cd "$(dirname "$0")/../.."

publish() { # label script flags...
    local label=$1 name=$2 out=mnist/out/runs/$1 launch=python
    shift 2
    [ -e "mnist/results/$label.log" ] && return
    [ "$label" = swa-trials ] && launch="torchrun --nproc-per-node 2" # words, so not quoted below
    $launch "mnist/$name.py" "$@" --out "$out" --resume
    [ "$label" = swa-trials ] && name=swa-trials
    for file in "$out/$name"*.{png,gif,txt}; do
        [[ $label = *gan-*float32 ]] && continue # the log is to compare; the pictures are alike
        [ -e "$file" ] && cp "$file" "mnist/results/$label${file#"$out/$name"}"
    done
    cp "$out/$name.log" "mnist/results/$label.log"
    # Should the run be wanted anew, it is not to go on from here.
    rm -f "$out/$name.resume.pt" "$out/$name".seed-*.json
}

judged() { # the scores of generated digits come from a trained classifier
    local judge=mnist/out/runs/conv-seed-0
    [ -e "mnist/results/$1.log" ] && return
    [ -e "$judge/conv.pt" ] || python mnist/conv.py --out "$judge" --resume
    mkdir -p "mnist/out/runs/$1"
    cp "$judge/conv.pt" "mnist/out/runs/$1"
}

publish logit logit
for seed in 0 1 2; do
    publish "linear-seed-$seed" linear --seed "$seed"
    publish "linear-float32-seed-$seed" linear --seed "$seed" --precision float32
done
publish conv-3-epochs conv --epochs 3
for seed in 0 1 2; do
    publish "conv-1-epoch-seed-$seed" conv --epochs 1 --seed "$seed"
    publish "conv-2-epochs-seed-$seed" conv --epochs 2 --seed "$seed"
    publish "conv-10-epochs-seed-$seed" conv --epochs 10 --seed "$seed"
    publish "conv-15-epochs-seed-$seed" conv --epochs 15 --seed "$seed"
    publish "conv-15-epochs-float32-seed-$seed" conv --epochs 15 --precision float32 --seed "$seed"
done
for seed in 0 1 2; do
    publish "conv-35-epochs-seed-$seed" conv --epochs 35 --seed "$seed"
    publish "conv-seed-$seed" conv --seed "$seed"
done
publish swa swa
publish lstm-seed-0 lstm
publish lstm-seed-1 lstm --seed 1
for seed in 0 1; do
    publish "lstm-bfloat16-seed-$seed" lstm --precision bfloat16 --seed "$seed"
done
publish simple-1-epoch simple --epochs 1
publish simple-1-epoch-float32 simple --epochs 1 --precision float32
publish simple-3-epochs simple --epochs 3
publish simple-3-epochs-seed-1 simple --epochs 3 --seed 1
publish simple-3-epochs-seed-2 simple --epochs 3 --seed 2
publish simple-3-epochs-float32 simple --epochs 3 --precision float32
judged gan
publish gan gan
judged gan-float32
publish gan-float32 gan --precision float32
judged cgan
publish cgan cgan
judged cgan-float32
publish cgan-float32 cgan --precision float32
if [ ! -e mnist/results/sample.png ]; then
    python mnist/sample.py 2026 --seed 7 --out mnist/out/runs/cgan
    cp mnist/out/runs/cgan/sample.png mnist/results
fi
publish simple-8-epochs simple --epochs 8
publish simple-8-epochs-seed-1 simple --epochs 8 --seed 1
publish wsimple-12-epochs wsimple --epochs 12
publish swa-trials swa --trials 8
publish simple-20-epochs simple --epochs 20
publish simple-20-epochs-seed-1 simple --epochs 20 --seed 1
publish simple simple
for table in speed parts; do
    log=mnist/results/$table.txt
    [ -e "$log" ] || { python "bench/$table.py" >"$log.new" && mv "$log.new" "$log"; }
done
