//! The figures of a recording in plain words, for the terminal and for the report.

use serde::Serialize;

use super::report::Money;
use super::summary::Summary;

/// Characters of a sparkline, from nothing to the greatest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Characters of a sparkline at most.
const SPARK_WIDTH: usize = 60;
/// The score at which the line is full: twice the alarm bar.
const FULL: f32 = 2.0;

/// One figure, explained in a line.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name in statistics.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Its meaning.
    pub meaning: &'static str,
}

/// A length of time in words.
fn duration(ms: i64) -> String {
    let s = ms.max(0) as f64 / 1000.0;
    match s {
        s if s < 120.0 => format!("{s:.0} seconds"),
        s if s < 7200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} hours", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// The summary in sentences.
pub fn sentences(s: &Summary) -> Vec<String> {
    let mut all = Vec::new();
    let ratio = s.rmse_over_persistence;
    if ratio.is_finite() {
        let (percent, way) = (
            100.0 * (ratio - 1.0).abs(),
            if ratio <= 1.0 { "better" } else { "worse" },
        );
        all.push(format!(
            "Prediction is {percent:.0} % {way} than assuming that nothing changes."
        ));
    }
    let incidents = match s.incidents {
        0 => "No incident".to_owned(),
        1 => "1 incident".to_owned(),
        n => format!("{n} incidents"),
    };
    let allowed = match s.wanted_false_alarms {
        x if x < 0.95 => format!("{x:.2} false alarms"),
        x => format!("{x:.1} false alarms"),
    };
    let span = duration(s.span_ms);
    all.push(format!(
        "{incidents} in {span}; the settings allow {allowed} over that time."
    ));
    all.push(match s.verdict.state {
        "converged" => "It has seen enough to judge.".to_owned(),
        "too short" => format!("It has not seen enough to judge: {}.", s.verdict.why),
        "diverging" => "Its predictions get worse: do not rely on the flags.".to_owned(),
        _ if s.verdict.why.starts_with("still") => "It is still learning.".to_owned(),
        _ => "The data changed towards the end.".to_owned(),
    });
    all
}

/// Highest scores over the recording as a line of blocks; the alarm bar is at half its height.
pub fn sparkline(scores: &[f32]) -> String {
    let n = scores.len().div_ceil(SPARK_WIDTH).max(1);
    let highest = |few: &[f32]| few.iter().copied().fold(0.0, f32::max);
    let block = |x: f32| {
        let place = (x / FULL * BLOCKS.len() as f32) as usize;
        BLOCKS[place.min(BLOCKS.len() - 1)]
    };
    scores.chunks(n).map(|few| block(highest(few))).collect()
}

/// Figures with their meaning.
pub fn figures(s: &Summary) -> Vec<Figure> {
    let figure = |name, value: String, meaning| Figure {
        name,
        value,
        meaning,
    };
    vec![
        figure(
            "one-step RMSE over persistence",
            format!("{:.3}", s.rmse_over_persistence),
            "error of the next row's prediction, over that of the last value; below 1 is better",
        ),
        figure(
            "one-step RMSE over the running mean",
            format!("{:.3}", s.rmse_over_running_mean),
            "the same, over that of the mean of all values before",
        ),
        figure(
            "coverage of the 90% interval",
            format!("{:.1}%", 100.0 * s.coverage90),
            "share of values inside the interval that should hold 90 %, where change was expected",
        ),
        figure(
            "log predictive density",
            format!(
                "{:+.3} nats a value, persistence {:+.3}",
                s.log_density, s.log_density_persistence
            ),
            "how probable the values were beforehand, channels scaled to unit deviation; more is better",
        ),
        figure(
            "rows flagged",
            s.flags.to_string(),
            "rows during which an incident was open",
        ),
        figure(
            "learning",
            s.verdict.state.to_owned(),
            "whether the gain over persistence has settled from the middle third to the last",
        ),
    ]
}

/// The money in sentences.
pub fn money(money: &Money) -> Vec<String> {
    let [set, best, limits, none] = money.detectors.as_slice() else {
        return Vec::new();
    };
    let of = money.faults.len();
    let mut all = vec![format!(
        "Of {of} known {} it found {} with {} false alarms; limits of 3 standard deviations found {} \
         with {}.",
        if of == 1 { "fault" } else { "faults" },
        set.found,
        set.false_alarms,
        limits.found,
        limits.false_alarms
    )];
    let costs = money.costs;
    if costs.false_alarm + costs.missed_fault > 0.0 {
        let saved = |x: f64| match none.cost_per_month - x {
            y if y >= 0.0 => format!("saved {y:.0}"),
            y => format!("cost {:.0} more", -y),
        };
        let at_best = match money.best_bar {
            1.0 => "the bar at which it pays most".to_owned(),
            bar => format!(
                "and {} at {bar} times the set bar, where it pays most",
                saved(best.cost_per_month)
            ),
        };
        all.push(format!(
            "Against no detector it would have {} a month as set, {at_best}; the limits would have {}.",
            saved(set.cost_per_month),
            saved(limits.cost_per_month)
        ));
    } else {
        let best_bar = match money.best_bar {
            1.0 => "At the bar that is set".to_owned(),
            bar => format!("At {bar} times the set bar"),
        };
        all.push(format!(
            "{best_bar} the fewest mistakes are made: {} missed, {} false.",
            best.missed, best.false_alarms
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_bounded_and_shows_the_highest() {
        let mut scores = vec![0.1_f32; 1000];
        scores[500] = 3.0;
        let line = sparkline(&scores);
        assert!(line.chars().count() <= SPARK_WIDTH);
        assert_eq!(line.chars().filter(|c| *c == '█').count(), 1);
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[1.0]), "▅");
    }

    #[test]
    fn lengths_of_time_are_in_words() {
        assert_eq!(duration(90_000), "90 seconds");
        assert_eq!(duration(19 * 60_000), "19 minutes");
        assert_eq!(duration(40 * 3_600_000), "40 hours");
        assert_eq!(duration(40 * 86_400_000), "40 days");
    }
}
