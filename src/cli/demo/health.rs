//! How the learning goes, read from the daemon's own /metrics like anybody else would.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a scrape may take.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The figures that say whether a stream is learning; `None` where not exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearningFigures {
    rmse_ratio: Option<f64>,
    coverage: Option<f64>,
}

impl LearningFigures {
    /// As a few words.
    pub fn words(&self) -> String {
        let mut words = String::new();
        let mut add = |name: &str, value: Option<f64>, digits: usize, factor: f64, unit: &str| {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let gap = if words.is_empty() { "" } else { "   " };
                let _ = write!(words, "{gap}{name} {:.digits$}{unit}", value * factor);
            }
        };
        // Below a hundredth there is nothing to say.
        let better = self.rmse_ratio.map(|ratio| 1.0 - ratio);
        let better = better.filter(|better| *better >= 0.01);
        let than = "% better than assuming that nothing changes";
        add("prediction", better, 0, 100.0, than);
        add("90 % interval holds", self.coverage, 1, 100.0, " %");
        words
    }
}

/// Fetches /metrics.
///
/// # Errors
/// If the daemon does not answer in time.
pub fn scrape(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The health by stream, and under "" what is not told apart by stream.
pub fn parse(text: &str) -> BTreeMap<String, LearningFigures> {
    let mut all: BTreeMap<String, LearningFigures> = BTreeMap::new();
    for (name, stream, value) in text.lines().filter_map(sample) {
        let field = |health: &mut LearningFigures| -> Option<()> {
            let field = match name {
                "spiked_stream_rmse_persistence_ratio" => &mut health.rmse_ratio,
                "spiked_stream_interval_coverage_ratio" => &mut health.coverage,
                _ => return None,
            };
            *field = Some(value);
            Some(())
        };
        let mut health = all.get(stream).cloned().unwrap_or_default();
        if field(&mut health).is_some() {
            all.insert(stream.to_owned(), health);
        }
    }
    all
}

/// Name, `stream` label (or nothing) and value of a line of the exposition format.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim_end().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let stream = labels
        .split_once("stream=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(stream, _)| stream);
    Some((name, stream, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_stream() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP spiked_other x\nspiked_other 3\n\
            spiked_stream_rmse_persistence_ratio{stream=\"pump-1\"} 0.81\n\
            spiked_stream_interval_coverage_ratio{stream=\"pump-1\"} 0.9\n";
        let all = parse(text);
        assert_eq!(all.len(), 1);
        assert_eq!(
            all["pump-1"].words(),
            "prediction 19% better than assuming that nothing changes   90 % interval holds 90.0 %"
        );
    }
}
