//! Memory and CPU time of the process.

use prometheus::{Counter, IntGauge};

use super::declare::Declare;

/// Memory and CPU time of the process, under the names that Prometheus clients agree on.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    resident_memory: IntGauge,
    cpu_seconds: Counter,
}

impl ProcessMetrics {
    /// Declares them.
    pub fn declare(d: &Declare<'_>) -> prometheus::Result<ProcessMetrics> {
        Ok(ProcessMetrics {
            resident_memory: d.int_gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
            )?,
            cpu_seconds: d.fractional_counter(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds",
            )?,
        })
    }

    /// Reads them from /proc, where there is one.
    pub fn read(&self) {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        if let Some(pages) = statm.split(' ').nth(1).and_then(|n| n.parse::<i64>().ok()) {
            self.resident_memory.set(pages * 4096);
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Behind the command's closing parenthesis: state is field 3, utime and stime 14 and 15.
        let ticks: Option<f64> = stat.rsplit_once(')').map(|(_, rest)| {
            rest.split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|n| n.parse::<f64>().ok())
                .sum()
        });
        if let Some(ticks) = ticks {
            // Linux reports clock ticks of 10 ms to user space. Two scrapes at once may both see
            // the same difference: the sum is never less than the last one.
            let further = ticks / 100.0 - self.cpu_seconds.get();
            if further > 0.0 {
                self.cpu_seconds.inc_by(further);
            }
        }
    }
}
