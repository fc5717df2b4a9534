#!/usr/bin/env python3
"""Gap regression: what a fit believes where it has seen nothing.

usage: gap.py SPIKED [--seeds N] [--all] [further arguments of `spiked fit`]
       --all: every schedule, deterministic and sigmoid spikes, every family of weights, one line each

y = sin(x) + .1 N(0, 1), 200 points on [-4, -1] and [1, 4]; nothing between, nothing beyond.
Compares the sd of the curve itself (column `ignorance` of `--predict`) on the data, in the middle of the gap (|x| < .5) and beyond the edges.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np


def fit(spiked, seed, work, extra):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.uniform(-4, -1, 100), rng.uniform(1, 4, 100)])
    y = np.sin(x) + 0.1 * rng.normal(size=200)
    grid = np.linspace(-6, 6, 241)
    np.savetxt(work / "train.csv", np.c_[x, y], delimiter=",")
    np.savetxt(work / "test.csv", np.c_[grid, np.sin(grid)], delimiter=",")
    command = [spiked, "fit", "--task", "regression", "--target", "1", "--passes", "40", "--json"]
    command += ["--train", str(work / "train.csv"), "--test", str(work / "test.csv")]
    command += ["--seed", str(seed), "--predict", str(work / "out.csv")] + extra
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    noise = json.loads(done.stdout)["noise_sd"]
    out = np.loadtxt(work / "out.csv", delimiter=",", skiprows=1)
    # x, y, mean, sd, ignorance, low90, high90
    return grid, out[:, 2], out[:, 4], noise


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("spiked")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--all", action="store_true")
    args, extra = parser.parse_known_args()
    if not args.all:
        return study(args, extra)
    schedules = ["exact", "sequential", "averaged"]
    cases = [f"--schedule {s} --spikes {k}" for k in ("deterministic", "sigmoid") for s in schedules]
    cases += [f"--weights {w} --spikes deterministic" for w in ("gaussian", "ternary", "binary")]
    for case in cases:
        print(case, end=": ")
        study(args, case.split() + extra)


def study(args, extra):
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for seed in range(args.seeds):
            x, mean, sd, noise = fit(args.spiked, seed, pathlib.Path(work), extra)
            gap, data = np.abs(x) < 0.5, (np.abs(x) > 1.2) & (np.abs(x) < 3.8)
            near, far = (np.abs(x) > 4.2) & (np.abs(x) < 5), np.abs(x) > 5.2
            hole = np.abs(x) < 1
            off = np.abs(mean - np.sin(x))[hole] / sd[hole]
            on = sd[data].mean()
            parts = [sd[gap].mean() / on, off.max(), sd[near].mean() / on, sd[far].mean() / on]
            parts += [noise, np.mean(off < 2)]
            rows.append(parts)
            if not args.all:
                print(
                    f"seed {seed}: sd on the data {on:.3f}; in the gap {parts[0]:.2f} times that, "
                    f"worst error there {parts[1]:.2f} sd; at 4.2 to 5 {parts[2]:.2f}, beyond 5.2 "
                    f"{parts[3]:.2f} times; noise {noise:.3f}"
                )
    m = np.mean(rows, 0)
    print(
        f"mean: gap {m[0]:.2f} (wanted 2), truths in the gap within 2 sd {m[5]:.1%}, "
        f"worst error {np.max([r[1] for r in rows]):.2f} sd (wanted 2), edges {m[2]:.2f} then {m[3]:.2f} (wanted growing), noise {m[4]:.3f} (true .1)"
    )


if __name__ == "__main__":
    main()
