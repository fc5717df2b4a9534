//! The watcher's book: announced faults against published flags, by simulated time alone.
//!
//! A fault counts as flagged when an incident opens on its stream while it lasts. An incident
//! that opens outside any fault is false, except in the [`AFTERMATH_MS`] after one: there the
//! fault's own end is the reason.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::faults::FaultEdge;
use super::plant::PERIOD_S;

/// How long after a fault a new incident is put down to its end: 100 rows.
pub const AFTERMATH_MS: i64 = (100.0 * PERIOD_S * 1e3) as i64;

/// State of one announced fault.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRecord {
    /// The announcement of its start.
    pub start: FaultEdge,
    /// When it ended; `None` while it lasts.
    pub end_ms: Option<i64>,
    /// When the first incident opened during it.
    pub flagged_ms: Option<i64>,
}

impl FaultRecord {
    fn lasts_at(&self, ts_ms: i64, grace_ms: i64) -> bool {
        let end_ms = self
            .end_ms
            .map_or(i64::MAX, |end| end.saturating_add(grace_ms));
        (self.start.ts..end_ms).contains(&ts_ms)
    }
}

/// An incident as the watcher saw it open.
#[derive(Clone, Copy, Debug, PartialEq)]
struct OpenIncident {
    ts_ms: i64,
    reported: bool,
}

/// One stream's part of the book.
#[derive(Clone, Debug, Default, PartialEq)]
struct Page {
    faults: Vec<FaultRecord>,
    opened: Vec<OpenIncident>,
    anomaly: bool,
    judged_rows: u64,
    last_ms: i64,
}

/// An incident that ended, as the daemon published it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Ended {
    /// The stream.
    pub stream: String,
    /// Number of the incident in its stream.
    pub incident: u64,
    /// Moments at which it opened and ended, unix milliseconds.
    #[serde(rename = "start")]
    pub start_ms: i64,
    #[serde(rename = "end")]
    pub end_ms: i64,
}

/// Something worth a line on the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A fault begins.
    Begins(FaultEdge),
    /// A fault ends, and whether it had been flagged.
    Ends(FaultEdge, bool),
    /// A fault was flagged, so many milliseconds after its start.
    Flagged(FaultEdge, i64),
    /// An incident opened without a fault: stream and moment.
    False(String, i64),
    /// The operator has ruled on an incident that ended.
    Ruled(Ended, bool),
}

/// The book of all streams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    pages: BTreeMap<String, Page>,
}

/// The closing account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Faults that were announced and have ended, or were flagged before.
    pub faults: usize,
    /// Of these, flagged.
    pub flagged: usize,
    /// Median delay of the flags, seconds of simulated time; NaN without any.
    pub median_delay_s: f64,
    /// By stream: false incidents, and hours judged (warm and without a fault).
    pub quiet: BTreeMap<String, (usize, f64)>,
}

impl Account {
    /// False incidents per simulated hour and stream, over all streams; NaN before any hour.
    pub fn false_per_hour(&self) -> f64 {
        let (n, hours) = self
            .quiet
            .values()
            .fold((0, 0.0), |(n, hours), (m, h)| (n + m, hours + h));
        n as f64 / hours
    }
}

impl Book {
    /// Enters the announcement of a fault.
    pub fn announce(&mut self, edge: FaultEdge) -> Vec<News> {
        let page = self.pages.entry(edge.stream.clone()).or_default();
        if edge.begins {
            page.faults.push(FaultRecord {
                start: edge.clone(),
                end_ms: None,
                flagged_ms: None,
            });
            return vec![News::Begins(edge)];
        }
        let Some(record) = page
            .faults
            .iter_mut()
            .find(|record| record.start.fault == edge.fault)
        else {
            return Vec::new();
        };
        record.end_ms = Some(edge.ts);
        vec![News::Ends(edge, record.flagged_ms.is_some())]
    }

    /// Enters one prediction. Announcements travel on another topic and may come a little later
    /// than the flags that they explain, so an incident is called false only once the stream is
    /// ten rows past its opening.
    pub fn predict(
        &mut self,
        stream: &str,
        ts_ms: i64,
        anomaly: bool,
        warming_up: bool,
    ) -> Vec<News> {
        let page = self.pages.entry(stream.to_owned()).or_default();
        if anomaly && !page.anomaly {
            page.opened.push(OpenIncident {
                ts_ms,
                reported: false,
            });
        }
        page.anomaly = anomaly;
        page.last_ms = ts_ms;
        let in_fault = page.faults.iter().any(|f| f.lasts_at(ts_ms, AFTERMATH_MS));
        page.judged_rows += u64::from(!warming_up && !in_fault);
        page.settle(stream)
    }

    /// Whether an incident was a fault, or the end of one.
    pub fn was_fault(&self, ended: &Ended) -> bool {
        let page = self.pages.get(&ended.stream);
        let mut faults = page.into_iter().flat_map(|page| &page.faults);
        faults.any(|fault| fault.lasts_at(ended.start_ms, AFTERMATH_MS))
    }

    /// The state of the account.
    pub fn account(&self) -> Account {
        let known = || {
            self.pages
                .values()
                .flat_map(|page| &page.faults)
                .filter(|fault| fault.end_ms.is_some() || fault.flagged_ms.is_some())
        };
        let mut delays: Vec<i64> = known()
            .filter_map(|fault| Some(fault.flagged_ms? - fault.start.ts))
            .collect();
        delays.sort_unstable();
        let quiet = self.pages.iter().map(|(stream, page)| {
            let hours = page.judged_rows as f64 * PERIOD_S / 3600.0;
            (stream.clone(), (page.n_false(), hours))
        });
        Account {
            faults: known().count(),
            flagged: delays.len(),
            median_delay_s: median(&delays) / 1e3,
            quiet: quiet.collect(),
        }
    }
}

impl Page {
    /// Explains what can be explained by now.
    fn settle(&mut self, stream: &str) -> Vec<News> {
        let mut news = Vec::new();
        for opened in self.opened.iter_mut().filter(|opened| !opened.reported) {
            let fault = self
                .faults
                .iter_mut()
                .find(|fault| fault.lasts_at(opened.ts_ms, 0));
            if let Some(fault) = fault {
                opened.reported = true;
                if fault.flagged_ms.is_none() {
                    fault.flagged_ms = Some(opened.ts_ms);
                    let delay_ms = opened.ts_ms - fault.start.ts;
                    news.push(News::Flagged(fault.start.clone(), delay_ms));
                }
            } else if self
                .faults
                .iter()
                .any(|fault| fault.lasts_at(opened.ts_ms, AFTERMATH_MS))
            {
                opened.reported = true;
            } else if self.last_ms - opened.ts_ms >= (10.0 * PERIOD_S * 1e3) as i64 {
                opened.reported = true;
                news.push(News::False(stream.to_owned(), opened.ts_ms));
            }
        }
        news
    }

    fn n_false(&self) -> usize {
        self.opened
            .iter()
            .filter(|opened| {
                !self
                    .faults
                    .iter()
                    .any(|fault| fault.lasts_at(opened.ts_ms, AFTERMATH_MS))
            })
            .count()
    }
}

/// The middle of sorted values; NaN without any.
fn median(sorted: &[i64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2] as f64,
        n => (sorted[n / 2 - 1] + sorted[n / 2]) as f64 / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::FaultKind;
    use super::*;

    const ROW_MS: i64 = (PERIOD_S * 1e3) as i64;

    fn edge(fault: u64, row: i64, begins: bool) -> FaultEdge {
        FaultEdge {
            fault,
            stream: "pump-1".into(),
            channel: "flow".into(),
            kind: FaultKind::Bias,
            begins,
            ts: row * ROW_MS,
        }
    }

    /// Rows 0 to 1000 with incidents open in the given spans, and a fault from 200 to 260.
    fn play(incidents: &[(i64, i64)]) -> (Account, Vec<News>) {
        let mut book = Book::default();
        let mut news = Vec::new();
        for row in 0..1000 {
            if row == 200 || row == 260 {
                news.extend(book.announce(edge(1, row, row == 200)));
            }
            let anomaly = incidents.iter().any(|i| (i.0..i.1).contains(&row));
            news.extend(book.predict("pump-1", row * ROW_MS, anomaly, row < 100));
        }
        (book.account(), news)
    }

    #[test]
    fn an_incident_during_a_fault_is_its_flag() {
        let (account, news) = play(&[(203, 280)]);
        assert_eq!((account.faults, account.flagged), (1, 1));
        assert_eq!(account.median_delay_s, 30.0);
        assert_eq!(account.quiet["pump-1"].0, 0);
        assert!(news.contains(&News::Flagged(edge(1, 200, true), 3 * ROW_MS)));
    }

    #[test]
    fn an_incident_elsewhere_is_false() {
        let (account, news) = play(&[(150, 170), (500, 520)]);
        assert_eq!((account.faults, account.flagged), (1, 0));
        assert!(account.median_delay_s.is_nan());
        assert_eq!(account.quiet["pump-1"].0, 2);
        assert!(news.contains(&News::False("pump-1".into(), 500 * ROW_MS)));
        assert!(news.contains(&News::Ends(edge(1, 260, false), false)));
    }

    #[test]
    fn an_incident_that_was_open_before_is_no_flag() {
        let (account, _) = play(&[(190, 300)]);
        assert_eq!((account.flagged, account.quiet["pump-1"].0), (0, 1));
    }

    #[test]
    fn the_end_of_a_fault_may_raise_one_more() {
        let (account, _) = play(&[(203, 220), (262, 280)]);
        assert_eq!((account.flagged, account.quiet["pump-1"].0), (1, 0));
    }

    #[test]
    fn a_flag_that_comes_before_its_announcement_is_no_false_one() {
        let mut book = Book::default();
        book.predict("pump-1", 200 * ROW_MS, true, false);
        book.predict("pump-1", 201 * ROW_MS, true, false);
        book.announce(edge(1, 200, true));
        let news = book.predict("pump-1", 202 * ROW_MS, true, false);
        assert_eq!(news, [News::Flagged(edge(1, 200, true), 0)]);
    }

    #[test]
    fn an_operator_tells_a_fault_and_its_end_from_neither() {
        let mut book = Book::default();
        book.announce(edge(1, 200, true));
        book.announce(edge(1, 260, false));
        let ended = |row: i64| Ended {
            stream: "pump-1".into(),
            incident: 1,
            start_ms: row * ROW_MS,
            end_ms: (row + 20) * ROW_MS,
        };
        assert!(book.was_fault(&ended(210)) && book.was_fault(&ended(300)));
        assert!(!book.was_fault(&ended(150)) && !book.was_fault(&ended(400)));
    }

    #[test]
    fn quiet_hours_leave_out_warm_up_fault_and_aftermath() {
        let (account, _) = play(&[(150, 160)]);
        let hours = (1000 - 100 - 60 - 100) as f64 * PERIOD_S / 3600.0;
        assert!((account.quiet["pump-1"].1 - hours).abs() < 1e-9);
        assert!((account.false_per_hour() - 1.0 / hours).abs() < 1e-9);
    }
}
