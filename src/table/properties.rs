//! Property tests: what is written in any of the forms is read again, and nothing brings the reader
//! down.

use proptest::prelude::*;

use super::fixture::read;
use super::*;

/// A table to be written: times are whole seconds apart, numbers have two digits behind the point.
#[derive(Clone, Debug)]
struct Written {
    start_s: i64,
    steps_s: Vec<i64>,
    /// Hundredths; `None` where missing.
    cells: Vec<Vec<Option<i32>>>,
}

fn written() -> impl Strategy<Value = Written> {
    (1_usize..5, 3_usize..40).prop_flat_map(|(width, rows)| {
        let cell = prop::option::weighted(0.9, -99_999_999_i32..99_999_999);
        (
            946_684_800_i64..2_524_608_000,
            prop::collection::vec(1_i64..100_000, rows),
            prop::collection::vec(prop::collection::vec(cell, width), rows),
        )
            .prop_map(|(start_s, steps_s, cells)| Written {
                start_s,
                steps_s,
                cells,
            })
    })
}

impl Written {
    fn times_s(&self) -> Vec<i64> {
        let steps = self.steps_s.iter();
        steps
            .scan(self.start_s, |at, step| {
                *at += step;
                Some(*at)
            })
            .collect()
    }

    fn text(&self, separator: char, decimal: char, pattern: &str, title: bool) -> String {
        let width = self.cells[0].len();
        let mut text = if title {
            "a title\n".to_owned()
        } else {
            String::new()
        };
        text.push_str("time");
        for column in 0..width {
            text.push_str(&format!("{separator}c{column}"));
        }
        text.push('\n');
        for (at, row) in self.times_s().iter().zip(&self.cells) {
            let stamp = jiff::Timestamp::from_second(*at).unwrap();
            let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC);
            text.push_str(&zoned.strftime(pattern).to_string());
            for cell in row {
                text.push(separator);
                if let Some(cell) = cell {
                    let number = format!("{:.2}", f64::from(*cell) / 100.0);
                    text.push_str(&number.replace('.', &decimal.to_string()));
                }
            }
            text.push('\n');
        }
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_table_is_read_as_it_was_written(
        table in written(),
        (separator, decimal) in prop::sample::select(vec![(',', '.'), (';', ','), (';', '.'), ('\t', ','), ('|', '.')]),
        pattern in prop::sample::select(vec!["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M:%S", "%s"]),
        title in any::<bool>(),
    ) {
        let filled = table.cells.iter().flatten().filter(|cell| cell.is_some()).count();
        prop_assume!(filled > 0);
        let text = table.text(separator, decimal, pattern, title);
        let read = read(text.as_bytes(), &TableOptions::default()).unwrap();
        let times: Vec<i64> = read.rows.iter().map(|row| row.0 / 1000).collect();
        prop_assert_eq!(times, table.times_s());
        for (row, cells) in read.rows.iter().zip(&table.cells) {
            for (value, cell) in row.1.iter().zip(cells) {
                match cell {
                    Some(cell) => prop_assert_eq!(*value, f64::from(*cell) / 100.0),
                    None => prop_assert!(value.is_nan()),
                }
            }
        }
    }

    #[test]
    fn no_bytes_bring_the_reader_down(
        bytes in prop::collection::vec(prop::sample::select(b"\"\n\r,;\t|#:-./ 0123456789aeT\xc3\xb0\x00\xff".to_vec()), 0..400),
    ) {
        let _ = read(&bytes, &TableOptions::default());
    }

    #[test]
    fn every_line_is_a_row_or_counted(
        lines in prop::collection::vec(prop::sample::select(vec![
            "2026-03-01 00:00:00,1,2", "2026-03-01 00:00:01,3,4", "2026-03-01 00:00:02,,",
            "never,1,2", "2026-03-01 00:00:03,1,2,3,4", "x", "2026-03-01 00:00:04,5,6",
        ]), 1..60),
    ) {
        let good = lines.iter().filter(|line| line.starts_with("2026") && line.matches(',').count() == 2);
        let good = good.count();
        let numbers = lines.iter().any(|line| line.contains(",1,2") && line.starts_with("2026"));
        prop_assume!(numbers && 3 * good > 2 * lines.len());
        let text = format!("time,a,b\n2026-03-01,1,2\n{}\n", lines.join("\n"));
        let options = TableOptions { keep_order: true, ..TableOptions::default() };
        let read = read(text.as_bytes(), &options).unwrap();
        prop_assert_eq!(read.rows.len() as u64 + read.lines_left_out, lines.len() as u64 + 1);
    }
}
