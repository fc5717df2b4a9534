#!/usr/bin/env python3
"""Holds the replays of two programs to the same bits.

    tests/bench/same_bits.py BEFORE AFTER RECORDING...

Each recording is a CSV file, or a folder that is searched for them. Every row that `spiked replay --out` writes
and every figure of `--json` must be equal, but for those of speed. Exits with 1 where one differs.
"""

import filecmp
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SPEED = ("seconds", "readings_per_s")


def recordings(paths):
    for path in map(Path, paths):
        yield from sorted(path.rglob("*.csv")) if path.is_dir() else [path]


def without_speed(value):
    if isinstance(value, dict):
        return {key: without_speed(v) for key, v in value.items() if key not in SPEED}
    if isinstance(value, list):
        return [without_speed(v) for v in value]
    return value


def replay(program, recording, out):
    run = subprocess.run(
        [program, "replay", "--json", "--out", out, recording], capture_output=True, text=True
    )
    if run.returncode:
        return run.stderr.strip().splitlines()[-1:]
    return without_speed(json.loads(run.stdout))


def rows(folder):
    return {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    programs, differing, replayed = sys.argv[1:3], [], 0
    for recording in recordings(sys.argv[3:]):
        with tempfile.TemporaryDirectory() as folder:
            outs = [Path(folder, name) for name in ("before", "after")]
            for out in outs:
                out.mkdir()
            before, after = (replay(*pair) for pair in zip(programs, [recording] * 2, outs))
            kept = [rows(out) for out in outs]
            same = before == after and kept[0].keys() == kept[1].keys()
            same = same and all(
                filecmp.cmp(kept[0][name], kept[1][name], shallow=False) for name in kept[0]
            )
            replayed += bool(kept[0])
        if not same:
            differing.append(recording)
            print(f"differs: {recording}")
    print(f"{replayed} recordings replayed, {len(differing)} differ")
    if differing or not replayed:
        sys.exit(1)


if __name__ == "__main__":
    main()
