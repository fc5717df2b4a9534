//! Scores detectors against known faults, and prices them.

use serde::Serialize;

use crate::table::Stretch;

/// Rows without an alarm that do not end one.
const MERGE_ROWS: usize = 10;
/// Days of a month, on average.
const DAYS_A_MONTH: f64 = 30.44;
const DAY_MS: f64 = 86_400_000.0;
/// Alarm bars tried, as multiples of the one that is set.
const BARS: [f64; 14] = [
    0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0,
];

/// The price of each mistake, in any currency; 0 where not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// One false alarm.
    pub false_alarm: f64,
    /// One missed fault.
    pub missed_fault: f64,
}

/// Costs that a detector would have caused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectorScore {
    /// The detector, in words.
    pub name: String,
    /// Alarms raised.
    pub alarms: usize,
    /// Faults during which there was an alarm.
    pub found: usize,
    /// Faults during which there was none.
    pub missed: usize,
    /// Alarms outside every fault.
    pub false_alarms: usize,
    /// The same a day.
    pub false_alarms_per_day: f64,
    /// Median time from the beginning of a found fault to its alarm, seconds; null where none is found.
    pub delay_s: Option<f64>,
    /// Median time from the alarm to the end of a found fault, seconds.
    pub lead_s: Option<f64>,
    /// Cost of its mistakes a month of 30.44 days.
    pub cost_per_month: f64,
}

/// Detectors side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Money {
    /// Known faults within the recording.
    pub faults: Vec<Stretch>,
    /// The prices asked for.
    pub costs: Costs,
    /// The detectors: as set, at the best bar, 3-sigma limits, none.
    pub detectors: Vec<DetectorScore>,
    /// The bar that costs least, as a multiple of the one that is set.
    pub best_bar: f64,
}

/// The rows of a recording as far as alarms need them.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Moment of each row.
    pub ts_ms: Vec<i64>,
    /// Highest score of the row: 1 is an alarm.
    pub score: Vec<f32>,
    /// A value outside the mean of those before -+ 3 standard deviations.
    pub outside: Vec<bool>,
}

impl Trail {
    /// Stretches of rows that are `wanted`, those less than a few rows apart taken as one.
    pub fn stretches(&self, wanted: impl Fn(usize) -> bool) -> Vec<Stretch> {
        let mut found: Vec<Stretch> = Vec::new();
        let mut last = None;
        for (i, &ts_ms) in self.ts_ms.iter().enumerate().filter(|(i, _)| wanted(*i)) {
            match found
                .last_mut()
                .filter(|_| last.is_some_and(|last| i - last <= MERGE_ROWS))
            {
                Some(open) => open.end_ms = ts_ms,
                None => found.push(Stretch {
                    start_ms: ts_ms,
                    end_ms: ts_ms,
                }),
            }
            last = Some(i);
        }
        found
    }

    fn days(&self) -> f64 {
        match (self.ts_ms.first(), self.ts_ms.last()) {
            (Some(first), Some(last)) => ((last - first) as f64 / DAY_MS).max(1e-9),
            _ => 1e-9,
        }
    }

    fn score(
        &self,
        name: &str,
        alarms: &[Stretch],
        faults: &[Stretch],
        costs: Costs,
    ) -> DetectorScore {
        let first_in = |fault: &Stretch| alarms.iter().find(|alarm| alarm.overlaps(fault));
        let found: Vec<(&Stretch, &Stretch)> = faults
            .iter()
            .filter_map(|fault| Some((fault, first_in(fault)?)))
            .collect();
        let is_false = |alarm: &&Stretch| !faults.iter().any(|fault| fault.overlaps(alarm));
        let false_alarms = alarms.iter().filter(is_false).count();
        let missed = faults.len() - found.len();
        let delays = found
            .iter()
            .map(|(fault, alarm)| (alarm.start_ms - fault.start_ms).max(0));
        let leads = found
            .iter()
            .map(|(fault, alarm)| fault.end_ms - alarm.start_ms.max(fault.start_ms));
        let cost = false_alarms as f64 * costs.false_alarm + missed as f64 * costs.missed_fault;
        DetectorScore {
            name: name.to_owned(),
            alarms: alarms.len(),
            found: found.len(),
            missed,
            false_alarms,
            false_alarms_per_day: false_alarms as f64 / self.days(),
            delay_s: median_s(delays.collect()),
            lead_s: median_s(leads.collect()),
            cost_per_month: cost / self.days() * DAYS_A_MONTH,
        }
    }

    /// Scores and prices the detectors: `incidents` are those of the settings.
    pub fn money(&self, incidents: &[Stretch], faults: &[Stretch], costs: Costs) -> Money {
        let (first, last) = (self.ts_ms.first(), self.ts_ms.last());
        let whole = Stretch {
            start_ms: first.copied().unwrap_or(0),
            end_ms: last.copied().unwrap_or(0),
        };
        let faults: Vec<Stretch> = faults
            .iter()
            .filter(|f| f.overlaps(&whole))
            .copied()
            .collect();
        let of = |name: &str, alarms: &[Stretch]| self.score(name, alarms, &faults, costs);
        let at_bar = |bar: f64| {
            if bar == 1.0 {
                return of("as set", incidents);
            }
            let alarms = self.stretches(|i| f64::from(self.score[i]) >= bar);
            of(&format!("at {bar} times the set bar"), &alarms)
        };
        // Without prices a false alarm counts as much as a fault that is missed.
        let price = |score: &DetectorScore| match costs.false_alarm + costs.missed_fault {
            0.0 => (score.false_alarms + score.missed) as f64,
            _ => score.cost_per_month,
        };
        let near_one = |bar: f64| bar.ln().abs();
        let tried = BARS.iter().map(|&bar| (bar, at_bar(bar)));
        let best = tried.min_by(|a, b| {
            price(&a.1)
                .total_cmp(&price(&b.1))
                .then(near_one(a.0).total_cmp(&near_one(b.0)))
        });
        let (best_bar, best) = best.unwrap_or_else(|| (1.0, at_bar(1.0)));
        let limits = self.stretches(|i| self.outside[i]);
        let detectors = vec![
            of("spiked, as set", incidents),
            DetectorScore {
                name: match best_bar {
                    1.0 => "spiked, at its best bar, which is the one that is set".to_owned(),
                    _ => format!("spiked, {}, which is its best", best.name),
                },
                ..best
            },
            of("limits of 3 standard deviations on each channel", &limits),
            of("no detector", &[]),
        ];
        Money {
            faults,
            costs,
            detectors,
            best_bar,
        }
    }
}

fn median_s(mut ms: Vec<i64>) -> Option<f64> {
    ms.sort_unstable();
    ms.get(ms.len() / 2).map(|ms| *ms as f64 / 1000.0)
}

/// Limits at the mean of all values before -+ 3 standard deviations, on each channel.
#[derive(Clone, Debug, Default)]
pub(super) struct SigmaLimits {
    channels: Vec<(f64, f64, f64)>,
}

impl SigmaLimits {
    /// Takes the values of a row; whether any lies outside the limits that the rows before give.
    pub(super) fn outside(&mut self, values: impl Iterator<Item = f64>) -> bool {
        let mut outside = false;
        for (i, value) in values.enumerate() {
            if self.channels.len() <= i {
                self.channels.push((0.0, 0.0, 0.0));
            }
            if value.is_nan() {
                continue;
            }
            let (n, mean, m2) = &mut self.channels[i];
            let sd = (*m2 / (*n - 1.0).max(1.0)).sqrt();
            outside |= *n > 1.0 && (value - *mean).abs() > 3.0 * sd;
            *n += 1.0;
            let deviation = value - *mean;
            *mean += deviation / *n;
            *m2 += deviation * (value - *mean);
        }
        outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten days of hours; a fault on day 3 and one on day 7.
    fn trail(score: impl Fn(i64) -> f32) -> (Trail, [Stretch; 2]) {
        let hour = 3_600_000;
        let ts_ms: Vec<i64> = (0..240).map(|i| i * hour).collect();
        let trail = Trail {
            score: (0..240).map(score).collect(),
            outside: vec![false; ts_ms.len()],
            ts_ms,
        };
        let fault = |from: i64| Stretch {
            start_ms: from * hour,
            end_ms: (from + 5) * hour,
        };
        (trail, [fault(72), fault(168)])
    }

    #[test]
    fn found_missed_and_false_are_counted_and_priced() {
        let (trail, faults) = trail(|i| if matches!(i, 74..=80 | 20) { 2.0 } else { 0.1 });
        let alarms = trail.stretches(|i| trail.score[i] >= 1.0);
        let costs = Costs {
            false_alarm: 10.0,
            missed_fault: 1000.0,
        };
        let money = trail.money(&alarms, &faults, costs);
        let set = &money.detectors[0];
        assert_eq!(
            (set.alarms, set.found, set.missed, set.false_alarms),
            (2, 1, 1, 1)
        );
        assert_eq!((set.delay_s, set.lead_s), (Some(7200.0), Some(10_800.0)));
        let month = DAYS_A_MONTH * 24.0 / 239.0;
        assert!((set.cost_per_month - 1010.0 * month).abs() < 1e-6);
        let none = money.detectors.last().expect("none");
        assert_eq!((none.found, none.missed, none.alarms), (0, 2, 0));
        assert!((none.cost_per_month - 2000.0 * month).abs() < 1e-6);
    }

    #[test]
    fn the_best_bar_is_the_cheapest_and_of_equal_ones_the_nearest_to_the_set_one() {
        // The second fault is seen at half the bar, noise at a third.
        let score = |i: i64| match i {
            72..=77 => 2.0,
            168..=173 => 0.55,
            _ if i % 24 == 0 => 0.35,
            _ => 0.0,
        };
        let (trail, faults) = trail(score);
        let alarms = trail.stretches(|i| trail.score[i] >= 1.0);
        let costs = Costs {
            false_alarm: 100.0,
            missed_fault: 150.0,
        };
        assert_eq!(trail.money(&alarms, &faults, costs).best_bar, 0.5);
        let dear = Costs {
            false_alarm: 100.0,
            missed_fault: 0.0,
        };
        assert_eq!(trail.money(&alarms, &faults, dear).best_bar, 1.0);
    }

    #[test]
    fn rows_close_to_each_other_are_one_alarm() {
        let (trail, _) = trail(|i| if matches!(i, 10 | 15 | 40) { 1.0 } else { 0.0 });
        let found = trail.stretches(|i| trail.score[i] >= 1.0);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].end_ms - found[0].start_ms, 5 * 3_600_000);
    }

    #[test]
    fn limits_are_those_of_the_values_before() {
        let mut limits = SigmaLimits::default();
        let outside: Vec<bool> = (0..100)
            .map(|i| limits.outside([if i == 90 { 50.0 } else { f64::from(i % 5) }].into_iter()))
            .collect();
        assert!(outside[90] && outside.iter().skip(10).filter(|x| **x).count() == 1);
    }
}
