#!/usr/bin/env python3
"""What `spiked replay` makes of a generated plant whose law is known: forecasts twelve rows ahead of
two autoregressions, a soft sensor whose laboratory closes, a label, a valve that opens for the first
time. Fails where a figure is not what it should be.

usage: plant.py [--spiked BIN] [--seeds 3]
"""
import argparse, csv, json, os, subprocess, sys, tempfile
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CONFIG = """
[predict]
horizons = [1, 12]
[[channel]]
name = "quality"
stream = "pl*"
role = "target"
[[channel]]
name = "fault"
role = "label"
states = ["none", "leak", "block"]
[[channel]]
name = "valve"
kind = "binary"
states = ["shut", "open"]
"""
ROWS, LAB_ENDS, OPENS = 8000, 6000, 7000
CENTRES = {"none": (0, 0), "leak": (4, 0), "block": (0, 4)}


def plant(seed):
    rng = np.random.default_rng(seed)
    a = b = 0.0
    truth, lines = [], ["ts,a,b,c,d,quality,fault,valve"]
    for t in range(ROWS):
        a, b = 0.95 * a + rng.normal(), 0.9 * b + rng.normal()
        truth.append(20 + 3 * a - 2 * b)
        quality = truth[-1] + 0.2 * rng.normal() if t % 4 == 0 and t < LAB_ENDS else ""
        name = list(CENTRES)[t // 40 % 3]
        c, d = (x + 0.7 * rng.normal() for x in CENTRES[name])
        fault = name if t % 3 == 0 else ""
        lines.append(f"{1600000000 + t},{a},{b},{c},{d},{quality},{fault},{'open' if t >= OPENS else 'shut'}")
    return "\n".join(lines) + "\n", np.array(truth)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--spiked", default=f"{ROOT}/target/release/spiked")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    wrong = 0
    for seed in range(1, args.seeds + 1):
        with tempfile.TemporaryDirectory() as work:
            text, truth = plant(seed)
            for name, content in (("c.toml", CONFIG), ("plant.csv", text)):
                with open(f"{work}/{name}", "w") as f:
                    f.write(content)
            command = [args.spiked, "replay", "--json", "--config", f"{work}/c.toml",
                       "--out", f"{work}/out", f"{work}/plant.csv"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            summary = json.loads(done.stdout)[0]
            with open(f"{work}/out/plant.csv") as f:
                rows = list(csv.DictReader(f))
        column = lambda name: np.array([float(row[name] or "nan") for row in rows])
        value, mean, sd = column("a.value")[112:], column("a.h12.mean")[100:-12], column("a.h12.sd")[100:-12]
        coverage = np.mean(np.abs(value - mean) <= 1.6448536 * sd)
        off = (column("quality.mean") - truth)[LAB_ENDS:]
        soft = np.sqrt(np.mean(off ** 2)) / np.std(truth)
        fault = next(s for s in summary["states"] if s["channel"] == "fault")
        flagged = np.flatnonzero(column("valve.score") >= 1)
        after = [t for t in flagged if t >= OPENS]
        ratio = next(h for h in summary["horizons"] if h["channel"] == "a")["rmse_over_persistence"]
        checks = {
            f"coverage 12 rows ahead {coverage:.3f}": 0.88 < coverage < 0.92,
            f"over persistence {ratio:.3f}": ratio < 1,
            f"soft sensor while missing, RMSE over sd {soft:.3f}": soft < 0.2,
            f"label accuracy {fault['accuracy']:.3f}": fault["accuracy"] > 0.95,
            f"calibration error {fault['calibration_error']:.3f}": fault["calibration_error"] < 0.03,
            f"valve flagged after {after[0] - OPENS if after else None} rows": bool(after) and after[0] <= OPENS + 1,
        }
        print(f"seed {seed}: " + "; ".join(c + ("" if ok else " WRONG") for c, ok in checks.items())
              + f"; valve flagged before in {sum(t < OPENS for t in flagged)} rows")
        wrong += sum(not ok for ok in checks.values())
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
