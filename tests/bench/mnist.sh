#!/bin/sh
# Classification benchmark: `spiked fit` on MNIST, one line a variant.
# usage: mnist.sh SPIKED FOLDER [PASSES]    FOLDER holds the four idx files, gzip or not.
set -eu
spiked=$1 folder=$2 passes=${3:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
    if [ -e "$folder/$file" ]; then cp "$folder/$file" "$work"; else gunzip -c "$folder/$file.gz" >"$work/$file"; fi
done
fit() {
    printf '%s: ' "$*"
    "$spiked" fit --task classification --hidden 200 \
        --train-images "$work/train-images-idx3-ubyte" --train-labels "$work/train-labels-idx1-ubyte" \
        --test-images "$work/t10k-images-idx3-ubyte" --test-labels "$work/t10k-labels-idx1-ubyte" \
        "$@" 2>&1 | grep '^pass' | tail -n 1
}
for seed in 0 1 2; do fit --passes "$passes" --seed "$seed"; done
fit --passes "$passes" --weights binary
fit --passes "$passes" --weights ternary
fit --passes "$passes" --weights levels:16
fit --passes "$passes" --spikes probit:0.1
fit --passes "$passes" --spikes sigmoid
fit --passes 1 --limit 1000
