#!/usr/bin/env python3
"""Regression benchmark: `spiked fit` on tables with ready-made splits, beside published figures.

usage: uci.py SPIKED FOLDER [--sets a,b] [--splits N] [--first K] [--halves] [further arguments of `spiked fit`]

FOLDER/SET holds data.txt (white space), index_features.txt, index_target.txt and
index_{train,test}_N.txt. Fixed defaults for all sets: 50 spiking units, 40 passes.
--splits N takes N splits, from number K (0) on: a long run can be had in parts. One network, or as
many as --inits says. Needs numpy. Prints one line a set: mean and standard error over the splits,
RMSE and log density, and in brackets the published figures of probabilistic back-propagation
(Hernandez-Lobato and Adams, 2015), MC-dropout (Gal and Ghahramani, 2016) and Deep Ensembles
(Lakshminarayanan et al., 2017).

With --halves each split is learned in two parts: the first half of the training rows, then `--load` of that
model with the second half, beside all rows at once; the test rows are the same. One line each.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np

PUBLISHED = {
    "concrete": ((5.67, -3.16), (4.82, -2.93), (6.03, -3.06)),
    "energy": ((1.80, -2.04), (0.54, -1.21), (2.09, -1.38)),
    "power-plant": ((4.12, -2.84), (4.01, -2.80), (4.11, -2.79)),
    "wine-quality-red": ((0.64, -0.97), (0.62, -0.93), (0.64, -0.94)),
    "yacht": ((1.02, -1.63), (0.67, -1.25), (1.58, -1.18)),
    "kin8nm": ((0.10, 0.90), (0.08, 1.14), (0.09, 1.20)),
}


def write(path, rows):
    np.savetxt(path, rows, fmt="%.8g", delimiter=",")
    return str(path)


def tables(folder, split):
    """Training and test rows of a split, the target in the last column."""
    data = np.loadtxt(folder / "data.txt")
    columns = np.loadtxt(folder / "index_features.txt").astype(int).ravel()
    target = int(np.loadtxt(folder / "index_target.txt"))
    table = np.c_[data[:, columns], data[:, target]]
    indices = (folder / f"index_{part}_{split}.txt" for part in ("train", "test"))
    return [table[np.loadtxt(index).astype(int)] for index in indices]


def fit(spiked, train, test, work, extra):
    """RMSE, log density and coverage on `test` of a fit to `train`."""
    files = [write(work / "train.csv", train), write(work / "test.csv", test)]
    command = [spiked, "fit", "--task", "regression", "--target", str(train.shape[1] - 1)]
    command += ["--train", files[0], "--test", files[1], "--hidden", "50", "--passes", "40"]
    done = subprocess.run(command + ["--json"] + extra, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    score = json.loads(done.stdout)["passes"][-1]["test"]
    return score["rmse"], score["log_density"], score["coverage90"]


def fits(args, folder, split, work, extra):
    """Scores of a split by the name of what was learned."""
    train, test = tables(folder, split)
    whole = fit(args.spiked, train, test, work, extra)
    if not args.halves:
        return {"": whole}
    first, second = np.array_split(train, 2)
    model = str(work / "model")
    return {
        "first half": fit(args.spiked, first, test, work, extra + ["--save", model]),
        "then the second": fit(args.spiked, second, test, work, extra + ["--load", model]),
        "all at once": whole,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("spiked")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sets", default=",".join(PUBLISHED))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--halves", action="store_true")
    args, extra = parser.parse_known_args()
    for name in args.sets.split(","):
        folder = args.folder / name
        scores = {}
        with tempfile.TemporaryDirectory() as work:
            for split in range(args.first, args.first + args.splits):
                if (folder / f"index_train_{split}.txt").exists():
                    for what, score in fits(args, folder, split, pathlib.Path(work), extra).items():
                        scores.setdefault(what, []).append(score)
        for what, rows in scores.items():
            show(name, what, np.array(rows))


def show(name, what, scores):
    mean = np.mean(scores, 0)
    error = np.std(scores, 0) / len(scores) ** 0.5
    published = PUBLISHED.get(name, ())
    rmse = " ".join(str(row[0]) for row in published)
    density = " ".join(str(row[1]) for row in published)
    print(
        f"{name:17s} {what:15s} {len(scores)} splits: RMSE {mean[0]:.3f} +- {error[0]:.3f} ({rmse}), "
        f"log density {mean[1]:.3f} +- {error[1]:.3f} ({density}), "
        f"coverage of 90% {mean[2]:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
