#!/bin/sh
# Classification benchmark: `spiked fit` on MNIST, one line a variant: its arguments, what the last
# pass reached on the test images, and the seconds of that pass.
# usage: mnist.sh SPIKED FOLDER [PASSES]    FOLDER holds the four idx files, gzip or not.
# levels:16 and ternary weights take several minutes for ten passes.
set -eu
spiked=$1 folder=$2 passes=${3:-1}
find_file() { if [ -e "$folder/$1" ]; then echo "$folder/$1"; else echo "$folder/$1.gz"; fi; }
fit() {
    printf '%s: ' "$*"
    "$spiked" fit --task classification --hidden 200 \
        --train-images "$(find_file train-images-idx3-ubyte)" \
        --train-labels "$(find_file train-labels-idx1-ubyte)" \
        --test-images "$(find_file t10k-images-idx3-ubyte)" \
        --test-labels "$(find_file t10k-labels-idx1-ubyte)" \
        "$@" 2>&1 | grep '^pass' | tail -n 1
}
for seed in 0 1 2; do fit --passes "$passes" --seed "$seed" --receptive-fields; done
fit --passes "$passes" --receptive-fields --weights binary
fit --passes 1 --limit 1000 --receptive-fields
for seed in 0 1 2; do fit --passes "$passes" --seed "$seed"; done
fit --passes "$passes" --weights binary
fit --passes "$passes" --weights ternary
fit --passes "$passes" --weights levels:16
fit --passes "$passes" --spikes probit:0.1
fit --passes "$passes" --spikes probit:1
fit --passes "$passes" --spikes sigmoid
fit --passes 1 --limit 1000
