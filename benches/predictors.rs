//! How well the predictors of a stream do on recorded tables, tested on each row before it is learned.
//!
//! `cargo bench --bench predictors -- [--hidden N] [--rows N] FILE.csv...` prints for each file the error of
//! the mixture over that of persistence, log densities, gain and share of each expert, coverage of the 90%
//! interval, and the cost of a row; then the same of each channel given the others' present values. Numeric columns are channels; the first column that reads as a date
//! is the time; columns named `--skip NAME` are left out.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use spiked::encode::Encoder;
use spiked::predict::{
    ExpertKind, GivenOthers, GivenSettings, History, NextStep, NextStepSettings, Past, RowTime,
};

/// Rows before anything is counted.
const WARM_UP: usize = 1_000;
/// The bias whose onset is looked for, standard deviations of the channel.
const BIAS: f64 = 0.25;
const DAY_MS: i64 = 86_400_000;

struct Options {
    hidden: usize,
    rows: usize,
    skip: Vec<String>,
    files: Vec<String>,
}

fn options() -> Options {
    let mut options = Options {
        hidden: 64,
        rows: usize::MAX,
        skip: Vec::new(),
        files: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--hidden" => options.hidden = value().parse().expect("a number"),
            "--rows" => options.rows = value().parse().expect("a number"),
            "--skip" => options.skip.push(value()),
            _ => options.files.push(argument),
        }
    }
    options
}

/// A table: a moment a row where a column has it, and channels by row.
struct Table {
    ts_ms: Vec<i64>,
    rows: Vec<Vec<f64>>,
}

fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let civil = |format: &str| jiff::civil::DateTime::strptime(format, text).ok();
    let found = [
        "%Y-%m-%d %H:%M:%S",
        "%m/%d/%Y %H:%M",
        "%m/%d/%y %H:%M",
        "%Y-%m-%dT%H:%M:%S",
    ]
    .iter()
    .find_map(|format| civil(format))?;
    let zoned = found.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

fn read(path: &str, options: &Options) -> Table {
    let text = std::fs::read_to_string(path).expect("a file");
    let semicolons = text.lines().next().is_some_and(|line| line.contains(';'));
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if semicolons { b';' } else { b',' })
        .from_reader(text.as_bytes());
    let names: Vec<String> = reader
        .headers()
        .expect("names of columns")
        .iter()
        .map(str::to_owned)
        .collect();
    let records: Vec<csv::StringRecord> = reader
        .records()
        .take(options.rows)
        .map(|record| record.expect("a row"))
        .collect();
    let first = &records[0];
    let time = (0..names.len()).find(|&i| moment(&first[i]).is_some());
    let is_channel = |&i: &usize| {
        let wanted = !options.skip.iter().any(|s| *s == names[i].trim());
        let number = |r: &csv::StringRecord| r[i].trim().parse::<f64>().is_ok();
        Some(i) != time && wanted && records.iter().take(200).any(number)
    };
    let channels: Vec<usize> = (0..names.len()).filter(is_channel).collect();
    let value = |text: &str| text.trim().parse().unwrap_or(f64::NAN);
    Table {
        ts_ms: (0..records.len())
            .map(|t| match time {
                Some(i) => moment(&records[t][i]).expect("a moment"),
                None => t as i64 * 1000,
            })
            .collect(),
        rows: records
            .iter()
            .map(|r| channels.iter().map(|&i| value(&r[i])).collect())
            .collect(),
    }
}

/// Sums of one channel in each half of the table.
#[derive(Clone, Default)]
struct Sums {
    n: [f64; 2],
    square: [Vec<f64>; 2],
    persistence: [f64; 2],
    density: [f64; 2],
    density_persistence: [f64; 2],
    inside: f64,
    moving: f64,
    raw: [f64; 2],
    raw_persistence: [f64; 2],
    in_sd: f64,
}

fn main() {
    let options = options();
    for file in &options.files {
        let table = read(file, &options);
        if table.rows.len() > WARM_UP + 100 {
            run(file, &table, &options);
            if table.rows[0].len() > 1 {
                run_given(&table, &options);
            }
        }
    }
}

/// Time of this process on a processor, ns: the clock on the wall would count what else runs.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

fn run(file: &str, table: &Table, options: &Options) {
    let (n, channels) = (table.rows.len(), table.rows[0].len());
    let mut pasts: Vec<Past> = (0..channels)
        .map(|_| Past::Number(Box::new(History::new(Encoder::new("latency", 12, 2.5)))))
        .collect();
    let mut predictor = NextStep::new(NextStepSettings {
        hidden: options.hidden,
        memory_rows: 3_000.0,
        learn: true,
        hourly_noise: true,
        max_bytes: usize::MAX,
        seed: 1,
    });
    predictor.grow(&pasts);
    let mut sums = vec![Sums::default(); channels];
    let (mut published, mut verified) = (Vec::new(), Vec::new());
    let rests = vec![false; channels];
    let start = cpu_ns();
    for (t, row) in table.rows.iter().enumerate() {
        let moment = RowTime {
            ts_ms: table.ts_ms[t],
            hourly: table.ts_ms[t] - table.ts_ms[0] >= DAY_MS,
        };
        predictor.predict(moment, &pasts, &mut published);
        verified.clear();
        verified.extend(row.iter().enumerate().map(|(c, &x)| predictor.verify(c, x)));
        if t >= WARM_UP {
            for (c, &value) in row.iter().enumerate() {
                let (Some(v), Some(p)) = (verified[c], published[c]) else {
                    continue;
                };
                let Some(unit) = pasts[c].history().and_then(History::unit) else {
                    continue;
                };
                let (s, half) = (&mut sums[c], usize::from(t > n / 2));
                let d = predictor.mixture(c).distribution();
                let square = |mean: f64| ((value - mean) / unit).clamp(-20.0, 20.0).powi(2);
                let experts = d.components.len() - 1;
                s.square[half].resize(experts + 1, 0.0);
                s.square[half][experts] += square(p.mean);
                for (sum, c) in s.square[half].iter_mut().zip(&d.components[..experts]) {
                    *sum += square(c.mean);
                }
                s.n[half] += 1.0;
                s.persistence[half] += square(d.last);
                s.density[half] += v.ln_density + unit.ln();
                s.density_persistence[half] += v.ln_persistence + unit.ln();
                s.in_sd += v.ln_density + pasts[c].history().map_or(0.0, |h| h.level.sd().ln());
                s.raw[half] += (value - p.mean).powi(2);
                s.raw_persistence[half] += (value - d.last).powi(2);
                if !v.at_rest {
                    s.moving += 1.0;
                    s.inside += f64::from(u8::from(v.inside));
                }
            }
        }
        predictor.learn(row, &pasts, &verified, &rests);
        for (past, &value) in pasts.iter_mut().zip(row) {
            if let Past::Number(history) = past {
                history.observe(value, false, 1.0, 10_000.0);
            }
        }
    }
    let us = (cpu_ns() - start) / 1e3 / n as f64;
    report(file, &predictor, &sums, us);
}

fn report(file: &str, predictor: &NextStep, sums: &[Sums], us: f64) {
    let live: Vec<usize> = (0..sums.len())
        .filter(|&c| sums[c].persistence[1] > 1e-3 * sums[c].n[1])
        .collect();
    let mean =
        |f: &dyn Fn(usize) -> f64| live.iter().map(|&c| f(c)).sum::<f64>() / live.len() as f64;
    let ratio = |half: usize, e: usize| {
        mean(&|c| {
            let s = &sums[c];
            0.5 * (s.square[half].get(e).copied().unwrap_or(0.0) / s.persistence[half])
                .max(1e-8)
                .ln()
        })
        .exp()
    };
    let raw = |half: usize| {
        mean(&|c| 0.5 * (sums[c].raw[half] / sums[c].raw_persistence[half]).ln()).exp()
    };
    let experts = sums[live[0]].square[1].len() - 1;
    println!(
        "{file}: {} channels | rmse {:.4} {:.4} unlimited {:.3} {:.3} | ld {:+.3} {:+.3} (persistence {:+.3} {:+.3}, lowest mean {:+.2}, in sd {:+.2}, lowest margin {:+.3}) | cover {:.3} | {us:.1} us a row, {} kB",
        sums.len(),
        ratio(0, experts),
        ratio(1, experts),
        raw(0),
        raw(1),
        mean(&|c| sums[c].density[0] / sums[c].n[0]),
        mean(&|c| sums[c].density[1] / sums[c].n[1]),
        mean(&|c| sums[c].density_persistence[0] / sums[c].n[0]),
        mean(&|c| sums[c].density_persistence[1] / sums[c].n[1]),
        live.iter()
            .map(|&c| sums[c].density[1] / sums[c].n[1])
            .fold(f64::MAX, f64::min),
        live.iter()
            .map(|&c| sums[c].in_sd / (sums[c].n[0] + sums[c].n[1]))
            .fold(f64::MAX, f64::min),
        live.iter()
            .map(|&c| (sums[c].density[1] - sums[c].density_persistence[1]) / sums[c].n[1])
            .fold(f64::MAX, f64::min),
        sums.iter().map(|s| s.inside).sum::<f64>() / sums.iter().map(|s| s.moving).sum::<f64>(),
        predictor.bytes() / 1000,
    );
    for (e, kind) in predictor.kinds(live[0]).enumerate() {
        println!(
            "    {:<12} rmse {:.4} {:.4} share {:.3} gain {:+.4}",
            kind.as_str(),
            ratio(0, e),
            ratio(1, e),
            mean(&|c| predictor
                .mixture(c)
                .gate()
                .share()
                .get(e)
                .copied()
                .unwrap_or(0.0)),
            mean(&|c| predictor
                .mixture(c)
                .gate()
                .gain()
                .get(e)
                .copied()
                .unwrap_or(0.0)),
        );
    }
}

/// Sums of one channel given the others, and of each expert that it once had.
#[derive(Clone, Default)]
struct GivenSums {
    n: f64,
    square: f64,
    persistence: f64,
    density: f64,
    density_persistence: f64,
    /// Deviations of the values, and of the same off by [`BIAS`], in the second half.
    deviations: Vec<f64>,
    biased: Vec<f64>,
}

impl GivenSums {
    /// Share of the values off by [`BIAS`] that stand out in their first row, where one in a thousand values
    /// as they are does.
    fn onset(&self) -> f64 {
        let mut usual = self.deviations.clone();
        usual.sort_by(f64::total_cmp);
        let bar = usual[(0.999 * usual.len() as f64) as usize];
        let found = self.biased.iter().filter(|&&deviation| deviation > bar);
        found.count() as f64 / self.biased.len() as f64
    }
}

/// The predictors of each channel given the others, as the daemon has them by default.
fn run_given(table: &Table, options: &Options) {
    let channels = table.rows[0].len();
    let mut pasts: Vec<Past> = (0..channels)
        .map(|_| Past::Number(Box::new(History::new(Encoder::new("latency", 12, 2.5)))))
        .collect();
    let mut given = GivenOthers::new(GivenSettings {
        partners: 4,
        hidden: options.hidden.min(16),
        max_bytes: usize::MAX,
        delay_rows: 1_440,
        seed: 1,
    });
    let mut sums = vec![GivenSums::default(); channels];
    let mut verified = Vec::new();
    let start = cpu_ns();
    for (t, row) in table.rows.iter().enumerate() {
        let moment = RowTime {
            ts_ms: table.ts_ms[t],
            hourly: table.ts_ms[t] - table.ts_ms[0] >= DAY_MS,
        };
        given.start(row);
        given.compare(moment, row, &pasts, &mut verified);
        for predictor in given.predictors().iter().filter(|_| t >= WARM_UP) {
            let c = predictor.channel;
            let unit = pasts[c].history().and_then(History::unit);
            let (Some(v), Some(unit)) = (verified[c], unit) else {
                continue;
            };
            let d = predictor.mixture().distribution();
            let square = |mean: f64| ((row[c] - mean) / unit).clamp(-20.0, 20.0).powi(2);
            let s = &mut sums[c];
            s.n += 1.0;
            s.square += square(d.mean());
            s.persistence += square(d.last);
            s.density += v.ln_density + unit.ln();
            s.density_persistence += v.ln_persistence + unit.ln();
            if 2 * t < table.rows.len() {
                continue;
            }
            let level = pasts[c].history().map_or(f64::NAN, |h| h.level.sd());
            let sign = if t % 2 == 0 { BIAS } else { -BIAS };
            if let Some(off) = predictor.mixture().verify(row[c] + sign * level) {
                s.deviations.push(v.z.abs());
                s.biased.push(off.z.abs());
            }
        }
        given.learn(row, &pasts, 1.0);
        for (past, &value) in pasts.iter_mut().zip(row) {
            if let Past::Number(history) = past {
                history.observe(value, false, 1.0, 10_000.0);
            }
        }
    }
    let us = (cpu_ns() - start) / 1e3 / table.rows.len() as f64;
    let live: Vec<&GivenSums> = sums.iter().filter(|s| s.persistence > 1e-3 * s.n).collect();
    let mean =
        |f: &dyn Fn(&GivenSums) -> f64| live.iter().map(|s| f(s)).sum::<f64>() / live.len() as f64;
    println!(
        "    given the others: rmse {:.4} | ld {:+.3} (persistence {:+.3}) | onset of a bias of {BIAS} sd {:.3} | {us:.1} us a row, {} kB",
        mean(&|s| 0.5 * (s.square / s.persistence).max(1e-8).ln()).exp(),
        mean(&|s| s.density / s.n),
        mean(&|s| s.density_persistence / s.n),
        mean(&GivenSums::onset),
        given.bytes() / 1000,
    );
    for kind in ExpertKind::ALL {
        let gates = given.predictors().iter().filter_map(|g| {
            let e = g.kinds().position(|k| k == kind)?;
            Some((g.mixture().gate().share()[e], g.mixture().gate().gain()[e]))
        });
        let gates: Vec<(f64, f64)> = gates.collect();
        let n = gates.len().max(1) as f64;
        let (share, gain) = gates
            .iter()
            .fold((0.0, 0.0), |(s, g), gate| (s + gate.0 / n, g + gate.1 / n));
        if !gates.is_empty() {
            println!(
                "    {:<12} of {} channels, share {share:.3} gain {gain:+.4}",
                kind.as_str(),
                gates.len()
            );
        }
    }
}
