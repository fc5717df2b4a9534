#!/usr/bin/env python3
"""The schedules of `spiked fit` beside one another on real data.

usage: schedules.py SPIKED DATA [--sets concrete,yacht,energy,power-plant,etth1] [--passes 1,10]
                    [--splits 5] [--readout]

50 spiking units; no readout unless asked for, so that the schedule is what is compared. Tables in a random order
after 1 and 10 passes, test figures (5 splits). ETTh1 next step (all
channels at t and t - 1, direct synapses) is a stream: in its order, one pass, each row predicted
before its mini-batch is learned; figures of that, then those of the last fifth, not learned.
RMSE, log density and coverage of the 90% interval are means over the splits. Of the guard: the share of rows whose step was
damped, precisions clipped a row, batches that fell back and rows that were skipped (sums over the
splits). The first pass of `exact` without --batch is the sequential one: there is no site to take
out. DATA holds uci and ett. Needs numpy.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np

from surrogate import next_step

SCHEDULES = ["sequential", "exact"]
SCHEDULES += [f"{s} --batch {b}" for s in ("exact", "averaged") for b in (16, 64)]


def tables(name, data, splits):
    """(train, test) of every split, the target last."""
    if name == "etth1":
        lines = (data / "ett/ETTh1.csv").read_text().splitlines()[1:]
        rows = np.array([[float(v) for v in line.split(",")[1:]] for line in lines])
        yield next_step(rows, 6)
        return
    folder = data / "uci" / name
    rows = np.loadtxt(folder / "data.txt")
    columns = np.loadtxt(folder / "index_features.txt").astype(int).ravel()
    full = np.c_[rows[:, columns], rows[:, int(np.loadtxt(folder / "index_target.txt"))]]
    for k in range(splits):
        parts = ("train", "test")
        cut = [np.loadtxt(folder / f"index_{p}_{k}.txt").astype(int) for p in parts]
        yield full[cut[0]], full[cut[1]]


def fit(spiked, files, schedule, passes, extra):
    command = [spiked, "fit", "--task", "regression", "--hidden", "50", "--json"]
    command += ["--train", files[0], "--test", files[1], "--passes", str(passes)]
    command += ["--schedule"] + schedule.split() + extra
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def figures(result, stream):
    last = result["passes"][-1]
    kinds = ("prequential", "test") if stream else ("test",)
    scores = [last[kind][key] for kind in kinds for key in ("rmse", "log_density", "coverage90")]
    visits = result["rows"] * len(result["passes"])
    counts = [result[key] for key in ("damped", "clipped", "fell_back", "skipped")]
    return scores, np.array(counts) / [visits, visits, 1, 1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("spiked")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--sets", default="concrete,power-plant,etth1")
    parser.add_argument("--passes", default="1,10")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--readout", action="store_true")
    args = parser.parse_args()
    print("RMSE, log density, coverage (stream: twice) | damped, clipped, fell back, skipped")
    for name in args.sets.split(","):
        stream = name == "etth1"
        extra = ["--direct", "--in-order"] if stream else []
        extra += [] if args.readout else ["--no-readout"]
        got = {}
        with tempfile.TemporaryDirectory() as work:
            files = [str(pathlib.Path(work) / f"{part}.csv") for part in ("train", "test")]
            for parts in tables(name, args.data, args.splits):
                for file, rows in zip(files, parts):
                    np.savetxt(file, rows, fmt="%.8g", delimiter=",")
                more = extra + ["--target", str(parts[0].shape[1] - 1)]
                for passes in (1,) if stream else map(int, args.passes.split(",")):
                    for schedule in SCHEDULES:
                        result = fit(args.spiked, files, schedule, passes, more)
                        got.setdefault((passes, schedule), []).append(figures(result, stream))
        for (passes, schedule), all_splits in got.items():
            scores, counts = (np.array(part) for part in zip(*all_splits))
            shown = " ".join(f"{v:.4f}" for v in scores.mean(0))
            damped, clipped = counts[:, :2].mean(0)
            fell_back, skipped = counts[:, 2:].sum(0)
            guard = f"{damped:.1%} {clipped:.0f} {fell_back:.0f} {skipped:.0f}"
            print(f"{name:12s} {passes:2d} passes {schedule:20s} {shown} | {guard}", flush=True)


if __name__ == "__main__":
    main()
