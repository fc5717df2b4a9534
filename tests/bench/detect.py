#!/usr/bin/env python3
"""Detection and forecasting benchmarks: runs `spiked replay` with the shipped defaults over public
data sets and scores its output files.

Protocol: test-then-train, one pass, the same settings for every file, no labels, one fixed
threshold (score 1). A flag on NAB is the row in which an incident opens; on SKAB every row of an
open incident.

usage: detect.py --data DIR [--tools DIR] [--spiked BIN] [--config FILE]
                 [all] [nab] [skab] [forecast] [density] [horizons] [alarms] [young] [ablation] [perturbed]
  DIR holds nab/, skab/, ett/; --tools names the folder with nab_eval.py, skab_eval.py and real_eval.py.
  all: every set in one table, also gecco2018/, lwsndr/, smap/ and lbnl_hvac/ where DIR has them.
  density: log density against that of persistence, and coverage where change was expected, as the
  summary of `replay` gives them; forecast: coverage (NAB without its anomaly windows) and RMSE; horizons: the same 1 and 12 rows
  ahead over persistence at that horizon, every row counts; alarms: wanted against measured
  false alarms on SKAB anomaly-free, beside what the same setting finds on valve1; young: SKAB anomaly-free in 21 parts; ablation: nab and
  skab with each part switched off; perturbed: nab and skab with other seeds and warm-ups and on
  altered copies of the files.
"""
import argparse, copy, csv, glob, json, math, os, re, subprocess, sys, tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def replay(args, files, out, ignore=()):
    os.makedirs(out, exist_ok=True)
    command = [args.spiked, "replay", "--config", args.config, "--out", out, "--json"]
    if ignore:
        command += ["--ignore", ",".join(ignore)]
    done = subprocess.run(command + files, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def scored(command):
    """The output of a scorer; ends with its last words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[1]}: {done.stderr.strip()[-400:]}")
    return done.stdout


def onsets(path):
    """1 in each row in which `anomaly` rises, 0 elsewhere."""
    with open(path) as f:
        flags = [int(row["anomaly"]) for row in csv.DictReader(f)]
    return [int(now and not before) for before, now in zip([0] + flags, flags)]


def incidents(path):
    """Number of incidents; one that flares up again keeps its number and counts once."""
    with open(path) as f:
        return len({row["incident"] for row in csv.DictReader(f)} - {""})


def windows(args, path):
    """Mask of the rows of a NAB file that lie in one of its anomaly windows."""
    with open(f"{args.data}/nab/labels/combined_windows.json") as f:
        labels = json.load(f)
    spans = labels["/".join(path.split("/")[-2:])]
    with open(path) as f:
        stamps = [row["timestamp"] for row in csv.DictReader(f)]
    return [any(a[:19] <= t <= b[:19] for a, b in spans) for t in stamps]


def nab(args, work):
    print(nab_scores(args, work))


def nab_scores(args, work):
    for category in sorted(os.listdir(f"{args.data}/nab/data")):
        files = sorted(glob.glob(f"{args.data}/nab/data/{category}/*.csv"))
        out = f"{work}/nab-raw/{category}"
        replay(args, files, out)
        os.makedirs(f"{work}/nab/{category}", exist_ok=True)
        for path in files:
            name = os.path.basename(path)
            scores = onsets(f"{out}/{name}")
            with open(path) as f, open(f"{work}/nab/{category}/{name}", "w") as g:
                lines = f.read().splitlines()
                g.write("timestamp,value,anomaly_score\n")
                for line, rise in zip(lines[1:], scores):
                    g.write(f"{line},{rise}\n")
    command = [sys.executable, f"{args.tools}/nab_eval.py", f"{work}/nab", "--nab",
               f"{args.data}/nab", "--threshold", "0.5", "--by-category"]
    return scored(command)


def skab(args, work):
    print(skab_scores(args, work))


def skab_scores(args, work):
    for folder in sorted(os.listdir(f"{args.data}/skab")):
        if folder == "anomaly-free" or not os.path.isdir(f"{args.data}/skab/{folder}"):
            continue
        files = sorted(glob.glob(f"{args.data}/skab/{folder}/*.csv"))
        replay(args, files, f"{work}/skab/{folder}", ("anomaly", "changepoint", *args.without))
    command = [sys.executable, f"{args.tools}/skab_eval.py", f"{work}/skab", "--data",
               f"{args.data}/skab"] + (["--per-file"] if args.per_file else [])
    return scored(command)


def skab_figures(text):
    """F1, false and missing alarm rate as the columns of a table."""
    figure = lambda name: float(re.search(rf"^{name}: (.*)$", text, re.M).group(1))
    return f"{figure('F1'):.3f} | {figure('FAR_%'):.1f} | {figure('MAR_%'):.1f}"


def autoregression(values, order=8, forgetting=0.999):
    """One-step squared errors of recursive least squares on `order` lags and a constant, test then
    train, beside those of persistence; the first `order` values are not scored."""
    import numpy as np
    theta = np.zeros(order + 1); theta[0] = 1.0
    precision = np.eye(order + 1) * 1e3
    ours, persistence = [], []
    scale = np.std(values) or 1.0
    x = (np.asarray(values) - values[0]) / scale
    for t in range(order, len(x)):
        phi = np.append(x[t - order:t][::-1], 1.0)
        error = x[t] - theta @ phi
        ours.append((t, (error * scale) ** 2)); persistence.append(((x[t] - x[t - 1]) * scale) ** 2)
        gain = precision @ phi / (forgetting + phi @ precision @ phi)
        theta = theta + gain * error
        precision = (precision - np.outer(gain, phi @ precision)) / forgetting
        precision = (precision + precision.T) / 2
        if np.trace(precision) > 1e9:
            precision *= 1e9 / np.trace(precision)
    return ours, persistence


def forecast(args, work):
    import numpy as np
    sets = {"ett": (sorted(glob.glob(f"{args.data}/ett/*.csv")), ()),
            "skab anomaly-free": (glob.glob(f"{args.data}/skab/anomaly-free/*.csv"), ()),
            "nab": (sorted(glob.glob(f"{args.data}/nab/data/*/*.csv")), ())}
    for name, (files, ignore) in sets.items():
        out = f"{work}/forecast-{name.split()[0]}"
        summaries = replay(args, files, out, ignore)
        ratios, covers = [], []
        for path in files:
            with open(f"{out}/{os.path.basename(path)}") as f:
                rows = list(csv.DictReader(f))
            channels = [k[:-6] for k in rows[0] if k.endswith(".value")]
            for channel in channels:
                value = np.array([float(r[f"{channel}.value"] or "nan") for r in rows])
                mean = np.array([float(r[f"{channel}.mean"] or "nan") for r in rows])
                sd = np.array([float(r[f"{channel}.sd"] or "nan") for r in rows])
                ok = np.isfinite(value) & np.isfinite(mean)
                if name == "nab":
                    ok &= ~np.array(windows(args, path))
                covers.append((os.path.basename(path), channel,
                               np.mean(np.abs(value - mean)[ok] <= 1.6448536 * sd[ok])))
                if name == "nab":
                    continue
                peer, persistence = autoregression(list(value[np.isfinite(value)]))
                index = np.flatnonzero(np.isfinite(value))
                keep = [(index[t], e, p) for (t, e), p in zip(peer, persistence) if np.isfinite(mean[index[t]])]
                ours = np.mean([(value[i] - mean[i]) ** 2 for i, _, _ in keep])
                peers = np.mean([e for _, e, _ in keep])
                ratios.append((channel, math.sqrt(ours / peers), math.sqrt(ours / np.mean([p for _, _, p in keep]))))
        by_file = {}
        for file, _, c in covers:
            by_file.setdefault(file, []).append(c)
        per_file = {f: float(np.mean(c)) for f, c in by_file.items()}
        off = {f: round(c, 4) for f, c in per_file.items() if not 0.885 <= c <= 0.915}
        print(f"{name}: coverage of the 90% interval, files {len(per_file)}, mean {np.mean(list(per_file.values())):.4f}, "
              f"lowest {min(per_file.values()):.4f}, highest {max(per_file.values()):.4f}, outside 88.5 to 91.5%: {off or 'none'}")
        if ratios:
            g = lambda k: math.exp(np.mean([math.log(r[k]) for r in ratios]))
            print(f"    one-step RMSE over RLS AR(8) {g(1):.4f}, over persistence {g(2):.4f} (geometric means, {len(ratios)} channels)")
            print("    " + ", ".join(f"{c} {a:.3f}/{p:.3f}" for c, a, p in ratios))
        speed = sum(s["readings"] for s in summaries) / max(sum(s["seconds"] for s in summaries), 1e-9)
        print(f"    {speed:,.0f} readings/s")


def density(args, work):
    """Log density of every channel against persistence's; coverage of every file where change was expected."""
    print("| set | channels | lowest log density | below persistence, the most | coverage: lowest | highest | within 89 to 91% |\n"
          "|---|---|---|---|---|---|---|")
    labels = ("anomaly", "changepoint")
    sets = [("NAB", "nab/data/*/*.csv", ()), ("SKAB anomaly-free", "skab/anomaly-free/*.csv", ()),
            ("SKAB valve1", "skab/valve1/*.csv", labels), ("ETTh1", "ett/*.csv", ()), ("SMAP", "smap/S*.csv", ("label",)),
            ("motes", "lwsndr/*.csv", ()), ("GECCO", "gecco2018/*.csv", ()), ("LBNL", "lbnl_hvac/MZ*.csv", ())]
    for name, pattern, ignore in sets:
        files = sorted(glob.glob(f"{args.data}/{pattern}"))
        if not files:
            continue
        summaries = replay(args, files, f"{work}/density-{name.split()[0]}", ignore)
        channels = [c for s in summaries for c in s["channels"] if c["log_density"] is not None]
        gains = [c["log_density"] - c["log_density_persistence"] for c in channels]
        covers = [s["coverage90"] for s in summaries if s["coverage90"] is not None]
        below = [g for g in gains if g < 0.0]
        inside = sum(0.89 <= c <= 0.91 for c in covers)
        print(f"| {name} | {len(channels)} | {min(c['log_density'] for c in channels):.2f} | "
              f"{len(below)}, {min(below, default=0.0):.3f} | {min(covers):.3f} | {max(covers):.3f} | "
              f"{inside} of {len(covers)} |", flush=True)


def horizons(args, work):
    """Coverage of the 90% interval and RMSE over persistence, several rows ahead."""
    os.environ["SPIKED_PREDICT__HORIZONS"] = "1,12"
    print("| set | rows ahead | channels | coverage: mean | lowest | highest | outside 88.5 to 91.5% | RMSE over persistence: mean | highest |\n"
          "|---|---|---|---|---|---|---|---|---|")
    for name, pattern in [("ETTh1", "ett/*.csv"), ("SKAB anomaly-free", "skab/anomaly-free/*.csv"),
                          ("NAB", "nab/data/*/*.csv")]:
        files = sorted(glob.glob(f"{args.data}/{pattern}"))
        by_horizon = {}
        for summary in replay(args, files, f"{work}/horizons-{name.split()[0]}"):
            for c in summary["channels"] + summary["horizons"]:
                by_horizon.setdefault(c.get("horizon", 1), []).append((c["coverage90"], c["rmse_over_persistence"]))
        for horizon, figures in sorted(by_horizon.items()):
            covers, ratios = zip(*figures)
            off = sum(not 0.885 <= c <= 0.915 for c in covers)
            print(f"| {name} | {horizon} | {len(covers)} | {sum(covers) / len(covers):.4f} | {min(covers):.4f} | {max(covers):.4f} "
                  f"| {off} | {math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f} | {max(ratios):.3f} |")
    del os.environ["SPIKED_PREDICT__HORIZONS"]


def alarms(args, work):
    """Incidents on a recording without faults, for several settings of what is wanted, and what the
    same settings find on SKAB's faults: whether any bar lies between the two."""
    files = glob.glob(f"{args.data}/skab/anomaly-free/*.csv")
    args = copy.copy(args)
    args.per_file = True
    print("| wanted a week | wanted in this recording | measured | ratio | faults found | F1 | FAR % | MAR % |\n"
          "|---|---|---|---|---|---|---|---|")
    for wanted in (1000, 300, 100, 1, 1e-2, 1e-4, 1e-6):
        os.environ["SPIKED_DETECT__FALSE_ALARMS_PER_WEEK"] = str(wanted)
        out = f"{work}/alarms-{wanted}"
        replay(args, files, out)
        opened, weeks = 0, 0.0
        for path in files:
            opened += incidents(f"{out}/{os.path.basename(path)}")
            with open(path) as f:
                weeks += (sum(1 for _ in f) - 1) / 604800
        faults = skab_scores(args, out)
        hits = [int(n) for n in re.findall(r" TP +(\d+) TN", faults)]
        print(f"| {wanted:g} | {wanted * weeks:.2g} | {opened} | {opened / (wanted * weeks):.2g} | "
              f"{sum(n > 0 for n in hits)} of {len(hits)} | {skab_figures(faults)} |", flush=True)
    del os.environ["SPIKED_DETECT__FALSE_ALARMS_PER_WEEK"]


# Parts of SKAB's recording without faults, seven and a half minutes each.
YOUNG = 21


def young(args, work):
    """SKAB's recording without faults in parts, each a stream that has just begun: how many have an incident."""
    place = f"{work}/young"
    os.makedirs(place, exist_ok=True)
    files = []
    for path in glob.glob(f"{args.data}/skab/anomaly-free/*.csv"):
        with open(path) as f:
            header, *lines = f.readlines()
        for part in range(YOUNG):
            first, last = (len(lines) * k // YOUNG for k in (part, part + 1))
            files.append(f"{place}/part-{part:02}.csv")
            with open(files[-1], "w") as f:
                f.writelines([header] + lines[first:last])
    replay(args, files, f"{place}/out")
    counts = [incidents(f"{place}/out/{os.path.basename(path)}") for path in files]
    print(f"flagged: {sum(n > 0 for n in counts)} of {len(counts)} young streams, {sum(counts)} incidents")


def altered(args, root, rows=slice(None), change=lambda values: values):
    """A copy of the NAB and SKAB files with these rows only and every channel changed; windows end at
    the rows that are left, those without any are dropped."""
    import numpy as np
    with open(f"{args.data}/nab/labels/combined_windows.json") as f:
        labels = json.load(f)
    paths = glob.glob(f"{args.data}/nab/data/*/*.csv") + [
        path for path in glob.glob(f"{args.data}/skab/*/*.csv") if "anomaly-free" not in path]
    for path in sorted(paths):
        name = os.path.relpath(path, args.data)
        comma = "," if name.startswith("nab") else ";"
        with open(path) as f:
            header, *table = csv.reader(f, delimiter=comma)
        channels = [i for i, c in enumerate(header) if c not in ("timestamp", "datetime", "anomaly", "changepoint")]
        for i in channels:
            values = change(np.array([float(row[i]) for row in table]))
            for row, value in zip(table, values):
                row[i] = repr(float(value))
        table = table[rows]
        os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
        with open(f"{root}/{name}", "w", newline="") as f:
            csv.writer(f, delimiter=comma, lineterminator="\n").writerows([header] + table)
        key = "/".join(name.split("/")[-2:])
        if key in labels:
            inside = [[row[0] for row in table if a[:19] <= row[0] <= b[:19]] for a, b in labels[key]]
            labels[key] = [[stamps[0], stamps[-1]] for stamps in inside if stamps]
    os.makedirs(f"{root}/nab/labels", exist_ok=True)
    with open(f"{root}/nab/labels/combined_windows.json", "w") as f:
        json.dump(labels, f)


def perturbed(args, work):
    """How much of the scores hangs on chance."""
    import numpy as np
    random = np.random.default_rng(1)
    noise = lambda values: values + 0.1 * values.std() * random.normal(size=len(values))
    copies = [("as they are", {}, {})]
    copies += [(f"seed {s}", {"LEARN__SEED": s}, {}) for s in (2, 3, 4, 5, 6)]
    copies += [(f"warm-up {n} rows", {"DETECT__WARM_UP_ROWS": n}, {}) for n in (70, 130, 150)]
    copies += [("noise of .1 sd", {}, {"change": noise}), ("again", {}, {"change": noise}),
               ("upside down", {}, {"change": lambda values: -values})]
    copies += [(f"first {n} rows cut", {}, {"rows": slice(n, None)}) for n in (60, 100, 150)]
    copies += [("without the flow", {}, {"without": ["Volume Flow RateRMS"]})]
    copies += [("every second row", {}, {"rows": slice(None, None, 2)})]
    print("| | NAB standard | SKAB F1 | FAR % | MAR % |\n|---|---|---|---|---|")
    for name, settings, how in copies:
        settings = {f"SPIKED_{key}": str(value) for key, value in settings.items()}
        os.environ.update(settings)
        place, used = f"{work}/{name}", copy.copy(args)
        used.without = how.pop("without", [])
        if how:
            used.data = f"{place}/data"
            altered(args, used.data, **how)
        found = None if used.without else re.search(r"^standard +(\S+)", nab_scores(used, place), re.M)
        standard = f"{float(found.group(1)):.1f}" if found else "-"
        # Half the rows leave too few of SKAB's after its 400 rows of training.
        figures = "- | - | -" if name == "every second row" else skab_figures(skab_scores(used, place))
        print(f"| {name} | {standard} | {figures} |", flush=True)
        for key in settings:
            del os.environ[key]


# Each switch does one thing.
PARTS = [("all parts", {})] + [(name, {f"EXPERIMENTAL__{key}": "false"}) for name, key in [
    ("learned weights", "LEARN_WEIGHTS"), ("calendar", "CALENDAR"),
    ("hourly noise", "HOURLY_NOISE"), ("discount for autocorrelation", "DISCOUNT_AUTOCORRELATION"),
    ("cross-channel test", "CROSS_CHANNEL"), ("joint level", "JOINT_LEVEL"), ("levels given the others", "LASTING_LEVEL"), ("usual levels", "USUAL_LEVEL"), ("rest", "REST"),
    ("run lengths", "RUN_LENGTHS"), ("mean shift", "MEAN_SHIFT"), ("return levels", "CALIBRATE")]]
PARTS += [("hidden units", {"LEARN__HIDDEN": "0"}), ("Student weighting", {"LEARN__STUDENT_T_DOF": "1e9"}),
          ("lower weight in incidents", {"DETECT__INCIDENT_LEARNING_WEIGHT": "1"})]


def ablation(args, work):
    for name, settings in PARTS:
        settings = {f"SPIKED_{key}": value for key, value in settings.items()}
        os.environ.update(settings)
        print(f"== without {name}" if settings else f"== {name}", flush=True)
        nab(args, f"{work}/without-{name}")
        skab(args, f"{work}/without-{name}")
        for key in settings:
            del os.environ[key]


def others(args, work):
    """GECCO, canary, lwsndr, SMAP and LBNL by the scorer real_eval.py, a line a set."""
    done = subprocess.run([sys.executable, f"{args.tools}/real_eval.py", args.spiked, args.data, f"{work}/others", args.config],
                          capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("SET")]
    return [line[4:].split(": ", 1) for line in lines] or [["others", done.stderr.strip()[-200:] or "no recordings"]]


def everything(args, work):
    """Every data set in one table, with one set of defaults."""
    print("| set | figures |\n|---|---|")
    standard = re.findall(r"^(standard|reward\S*) +(\S+)", nab_scores(args, work), re.M)
    print("| NAB | " + ", ".join(f"{name} {float(value):.1f}" for name, value in standard) + " |", flush=True)
    print("| SKAB: F1, FAR %, MAR % | " + skab_figures(skab_scores(args, work)).replace(" | ", ", ") + " |", flush=True)
    for name, figures in others(args, work):
        print(f"| {name} | {figures} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["nab", "skab", "forecast"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--tools")
    parser.add_argument("--spiked", default=f"{ROOT}/target/release/spiked")
    parser.add_argument("--config", default=f"{ROOT}/config/minimal.toml")
    parser.add_argument("--keep", help="keep the output files here")
    parser.add_argument("--per-file", action="store_true")
    parser.add_argument("--without", nargs="*", default=[], help="channels of SKAB to leave out")
    args = parser.parse_args()
    work = args.keep or tempfile.mkdtemp(prefix="spiked-bench-")
    for what in args.what or ["nab", "skab", "forecast"]:
        print(f"== {what}")
        {"nab": nab, "skab": skab, "forecast": forecast, "density": density, "horizons": horizons, "alarms": alarms, "young": young,
         "ablation": ablation, "perturbed": perturbed, "all": everything}[what](args, work)


if __name__ == "__main__":
    main()
