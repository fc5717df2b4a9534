#!/usr/bin/env python3
"""What each code of a channel's level is worth: one-step RMSE over persistence (geometric mean over
channels, test-then-train, one pass) and log density, with every channel under that code.

usage: encoders.py --data DIR [--spiked BIN] [--fields 16] [--range 4.0]
  DIR holds ett/ and skab/anomaly-free/.
"""
import argparse, glob, json, math, os, subprocess, tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CODES = ["population", "thermometer", "delta", "latency", "rate", "raw"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--spiked", default=f"{ROOT}/target/release/spiked")
    parser.add_argument("--fields", type=int, default=16)
    parser.add_argument("--range", type=float, default=4.0)
    args = parser.parse_args()
    sets = {"ETTh1": glob.glob(f"{args.data}/ett/ETTh1.csv"),
            "SKAB anomaly-free": glob.glob(f"{args.data}/skab/anomaly-free/*.csv")}
    print("code          " + "".join(f"{name:>30}" for name in sets))
    for code in CODES:
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(f'[[channel]]\nname = "*"\nencoder = "{code}"\n'
                         f"fields = {args.fields}\nrange_sd = {args.range}\n")
            config.flush()
            cells = []
            for files in sets.values():
                command = [args.spiked, "replay", "--config", config.name, "--json"] + files
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                channels = [c for s in json.loads(done.stdout) for c in s["channels"]]
                ratio = math.exp(sum(math.log(c["rmse_over_persistence"]) for c in channels) / len(channels))
                density = sum(c["log_density"] for c in channels) / len(channels)
                cells.append(f"{ratio:.4f} ({density:+.3f} nats)")
        print(f"{code:14}" + "".join(f"{cell:>30}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
