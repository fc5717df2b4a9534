//! The summary of a recording on the terminal.

use std::fmt::Write as _;

use crate::replay::{Money, Summary, words};

/// The summary in words, the worst incidents, the proposals, and below them figures for statisticians.
pub(super) fn table_of(name: &str, s: &Summary, money: Option<&Money>) -> String {
    let mut text = format!("{name}\n");
    // Writing to a string cannot fail, here and below.
    for sentence in words::sentences(s)
        .iter()
        .chain(&money.map(words::money).unwrap_or_default())
    {
        let _ = writeln!(text, "  {sentence}");
    }
    if !s.severity.is_empty() {
        let _ = writeln!(
            text,
            "  severity {}  (half height is the alarm bar)",
            words::sparkline(&s.severity)
        );
    }
    text.push_str(&s.incident_list.table());
    for proposal in &s.proposals {
        let _ = writeln!(text, "  proposal: {}", proposal.text);
    }
    if let Some(money) = money {
        detectors(money, &mut text);
    }
    let _ = writeln!(
        text,
        "  figures for statisticians: rows {}   readings {}   {:.0} readings/s",
        s.rows, s.readings, s.readings_per_s
    );
    for figure in words::figures(s) {
        let _ = writeln!(
            text,
            "    {:35} {:22} {}",
            figure.name, figure.value, figure.meaning
        );
    }
    channels(s, &mut text);
    further(s, &mut text);
    let _ = writeln!(text, "  learning: {}: {}\n", s.verdict.state, s.verdict.why);
    text
}

fn detectors(money: &Money, text: &mut String) {
    let name = |d: &crate::replay::DetectorScore| d.name.chars().count();
    let width = money.detectors.iter().map(name).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "  {:width$}  found  missed  false  cost a month",
        "detector"
    );
    for d in &money.detectors {
        let _ = writeln!(
            text,
            "  {:width$}  {:5}  {:6}  {:5}  {:12.0}",
            d.name, d.found, d.missed, d.false_alarms, d.cost_per_month
        );
    }
}

fn channels(s: &Summary, text: &mut String) {
    if s.channels.len() < 2 {
        return;
    }
    let names = s.channels.iter().map(|c| c.name.chars().count());
    let width = names.max().unwrap_or(0);
    let _ = writeln!(
        text,
        "    {:width$}  /persist.   /mean  cover  density",
        "channel"
    );
    for c in &s.channels {
        let _ = writeln!(
            text,
            "    {:width$}  {:9.3}  {:6.3}  {:4.1}%  {:+7.3}",
            c.name,
            c.rmse_over_persistence,
            c.rmse_over_running_mean,
            100.0 * c.coverage90,
            c.log_density
        );
    }
}

/// Horizons and channels of states.
fn further(s: &Summary, text: &mut String) {
    for h in &s.ahead.horizons {
        let _ = writeln!(
            text,
            "  {} {} rows ahead: RMSE {:.4}, over persistence {:.3}, 90% interval holds {:.1}%",
            h.channel,
            h.horizon,
            h.rmse,
            h.rmse_over_persistence,
            100.0 * h.coverage90
        );
    }
    for c in &s.ahead.states {
        let _ = writeln!(
            text,
            "  {}: {} states seen, {:.1}% as predicted ({:.1}% the commonest), log loss {:.3} \
             ({:.3} of the shares), calibration error {:.3}",
            c.channel,
            c.scored,
            100.0 * c.accuracy,
            100.0 * c.accuracy_of_the_commonest,
            c.log_loss,
            c.log_loss_of_the_shares,
            c.calibration_error
        );
    }
}
