//! Where the alarm bar would stand for other rates of false alarms.

use serde::Serialize;

/// Rates that are shown, false alarms a week.
const RATES: [f64; 13] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
];
/// No bar falls below this part of the present one.
const LOWEST: f64 = 0.1;

/// Where the bar would stand for another rate of false alarms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AlarmThreshold {
    /// False alarms a week.
    pub per_week: f64,
    /// Score at which the bar would stand: 1 is the present bar.
    pub score: f64,
}

/// The bar for each of the rates, fewest first; nothing before there is a bar.
///
/// Evidence is a log likelihood ratio: without a fault it exceeds b nats with a probability that
/// falls as e^-b. So alarms that are to be k times as rare need a bar that is ln k nats higher.
pub fn alarm_thresholds(bar: f64, per_week: f64) -> Vec<AlarmThreshold> {
    if !bar.is_finite() || bar <= 0.0 {
        return Vec::new();
    }
    let threshold = |rate: f64| AlarmThreshold {
        per_week: rate,
        score: (1.0 + (per_week / rate).ln() / bar).max(LOWEST),
    };
    RATES.into_iter().map(threshold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_rate_has_the_present_bar_and_rarer_alarms_a_higher_one() {
        let all = alarm_thresholds(10.0, 1.0);
        let at = |rate: f64| all.iter().find(|t| t.per_week == rate).unwrap().score;
        assert_eq!(at(1.0), 1.0);
        assert!((at(0.01) - (1.0 + 100_f64.ln() / 10.0)).abs() < 1e-12);
        assert!(all.windows(2).all(|w| w[0].score > w[1].score));
        assert!(alarm_thresholds(f64::INFINITY, 1.0).is_empty());
    }
}
