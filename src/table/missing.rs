//! Numbers that stand for a missing value: those that are named, or marks far below the other values.

use super::layout::Numbered;
use super::number::{CellValue, Decimal, parse_number};
use crate::payload::is_missing_mark;

/// A mark lies this many times the range of the first values below the lowest of them.
const FAR_IN_RANGES: f64 = 3.0;

/// The numbers of one column that stand for a missing value.
#[derive(Clone, Debug)]
pub(super) enum MissingMarks {
    /// These.
    Named(Vec<f64>),
    /// Marks by custom, such as -999.9, below a limit.
    Below(f64),
}

impl MissingMarks {
    /// Those that are named, or found by the first rows of a column.
    pub(super) fn of(
        named: Option<&Vec<f64>>,
        rows: &[Numbered],
        column: usize,
        decimal: Decimal,
    ) -> MissingMarks {
        if let Some(named) = named {
            return MissingMarks::Named(named.clone());
        }
        let cells = rows.iter().map(|(_, row)| row.get(column));
        MissingMarks::far_below(cells.filter_map(|cell| match parse_number(cell, decimal) {
            CellValue::Number(x) => Some(x),
            _ => None,
        }))
    }

    /// Marks by custom, far below the values that are none.
    pub(super) fn far_below(values: impl Iterator<Item = f64>) -> MissingMarks {
        let mut range = UsualRange::default();
        values.for_each(|x| range.observe(x));
        range.marks()
    }

    /// The number stands for a missing value.
    pub(super) fn has(&self, x: f64) -> bool {
        match self {
            MissingMarks::Named(named) => named.contains(&x),
            MissingMarks::Below(limit) => x < *limit && is_missing_mark(x),
        }
    }
}

/// The range of a channel's values that are no marks.
#[derive(Clone, Debug)]
pub(super) struct UsualRange {
    low: f64,
    high: f64,
}

impl Default for UsualRange {
    fn default() -> UsualRange {
        UsualRange {
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        }
    }
}

impl UsualRange {
    pub(super) fn observe(&mut self, x: f64) {
        if x.is_finite() && !is_missing_mark(x) {
            (self.low, self.high) = (self.low.min(x), self.high.max(x));
        }
    }

    /// Marks by custom, far below the range; any of them where there is none.
    pub(super) fn marks(&self) -> MissingMarks {
        MissingMarks::Below(match self.low <= self.high {
            true => self.low - FAR_IN_RANGES * (self.high - self.low),
            false => f64::INFINITY,
        })
    }
}

/// Counts the marks of one channel.
#[derive(Clone, Debug)]
pub(super) struct MarkCount {
    channel: String,
    cells: u64,
    last: f64,
}

impl MarkCount {
    pub(super) fn of(channel: &str) -> MarkCount {
        MarkCount {
            channel: channel.to_owned(),
            cells: 0,
            last: f64::NAN,
        }
    }

    /// Counts a mark; the value in its place, which is missing.
    pub(super) fn take(&mut self, mark: f64) -> f64 {
        self.cells += 1;
        self.last = mark;
        f64::NAN
    }

    /// The count in words; `None` without a mark.
    pub(super) fn said(&self) -> Option<String> {
        (self.cells > 0)
            .then(|| format!("{} in {} cells of {}", self.last, self.cells, self.channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableOptions;
    use crate::table::fixture::{TableContents, read};

    #[test]
    fn marks_are_believed_far_below_the_other_values_only() {
        let of = |values: &[f64]| MissingMarks::far_below(values.iter().copied());
        assert!(of(&[18.0, 25.0, -999.0]).has(-999.0));
        assert!(of(&[-999.0]).has(-999.0));
        assert!(of(&[]).has(-9999.0));
        assert!(of(&[18.0, 25.0]).has(-32_768.0));
        assert!(!of(&[18.0, 25.0]).has(-200.0), "no mark");
        assert!(!of(&[0.0, 1000.0]).has(-999.0), "within reach");
        assert!(of(&[0.0, 1000.0]).has(-9999.0));
        assert!(MissingMarks::Named(vec![-200.0]).has(-200.0));
        assert!(!MissingMarks::Named(Vec::new()).has(-999.0));
    }

    fn table(text: &str, missing: Option<Vec<f64>>) -> TableContents {
        let options = TableOptions {
            missing,
            ..TableOptions::default()
        };
        read(text.as_bytes(), &options).unwrap()
    }

    #[test]
    fn a_table_takes_marks_as_missing_and_says_so() {
        let mut text = "time,t,p\n".to_owned();
        for i in 0..400 {
            let t = if i % 100 == 7 {
                "-999.90".to_owned()
            } else {
                format!("{}", 20 + i % 3)
            };
            text.push_str(&format!(
                "{},{t},{}\n",
                1_772_323_200 + 60 * i,
                1000 * (i % 5) - 2000
            ));
        }
        let TableContents { rows, marks, .. } = table(&text, None);
        assert!(rows[7].1[0].is_nan() && rows[307].1[0].is_nan() && rows[8].1[0] == 22.0);
        assert_eq!(marks.as_deref(), Some("-999.9 in 4 cells of t"));
        let TableContents { rows, marks, .. } = table(&text, Some(vec![-2000.0]));
        assert!(rows[7].1[0] == -999.9 && rows[5].1[1].is_nan());
        assert_eq!(marks.as_deref(), Some("-2000 in 80 cells of p"));
        let TableContents { rows, marks, .. } = table(&text, Some(Vec::new()));
        assert_eq!((rows[7].1[0], marks), (-999.9, None));
    }

    #[test]
    fn a_line_a_reading_may_have_marks_as_well() {
        let mut text = "time,sensor,value\n".to_owned();
        for i in 0..40 {
            let t = if i == 30 {
                -9999.0
            } else {
                f64::from(20 + i % 3)
            };
            let at = 1_772_323_200 + 60 * i;
            text.push_str(&format!("{at},t,{t}\n{at},h,{}\n", 50 + i % 7));
        }
        let TableContents { rows, marks, .. } = table(&text, None);
        assert!(rows[30].1[0].is_nan() && rows[29].1[0] == 22.0 && rows.len() == 40);
        assert_eq!(marks.as_deref(), Some("-9999 in 1 cells of t"));
    }
}
