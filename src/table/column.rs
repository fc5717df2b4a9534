//! Cells of one column: texts, row numbers, and how they are read as values.

use super::TableError;
use super::layout::Numbered;
use super::number::{self, CellValue, Decimal, parse_number};
use super::time::TimeFormat;

/// How the cells of a channel are read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CellReading {
    /// Numbers.
    Plain,
    /// Numbers with this unit behind them.
    Unit(String),
    /// `true` and `false`, read as 1 and 0.
    Truth,
}

/// The place of a column by its name.
pub(super) fn place(names: &[String], name: &str) -> Result<usize, TableError> {
    let exact = names.iter().position(|n| n == name);
    let found = exact.or_else(|| names.iter().position(|n| n.trim() == name.trim()));
    found.ok_or_else(|| TableError::NoColumn {
        name: name.to_owned(),
        present: names.join(", "),
    })
}

/// The cells of a column that are not empty.
pub(super) fn texts(rows: &[Numbered], column: usize) -> Vec<String> {
    let texts = rows
        .iter()
        .map(|(_, row)| row.text(column).trim().to_owned());
    texts.filter(|text| !text.is_empty()).collect()
}

/// A column that should hold times, and the first cell that is none.
pub(super) fn no_time(
    rows: &[Numbered],
    column: usize,
    name: &str,
    format: &TimeFormat,
) -> TableError {
    let first = rows.iter().find(|(_, row)| !row.get(column).is_empty());
    let (line, text) = first.map_or((0, String::new()), |(line, row)| {
        (*line, row.text(column).chars().take(60).collect())
    });
    TableError::Time {
        line,
        column: name.to_owned(),
        text,
        expected: format.expected(),
    }
}

/// It counts the rows up, most of them one by one.
pub(super) fn numbers_rows(rows: &[Numbered], column: usize) -> bool {
    let number = |(_, row): &Numbered| match parse_number(row.get(column), Decimal::Point) {
        CellValue::Number(x) if x.fract() == 0.0 => Some(x),
        _ => None,
    };
    let Some(numbers) = rows.iter().map(number).collect::<Option<Vec<f64>>>() else {
        return false;
    };
    let by_one = numbers
        .windows(2)
        .filter(|pair| (pair[1] - pair[0]).abs() == 1.0)
        .count();
    let one_way = numbers.is_sorted() || numbers.iter().rev().is_sorted();
    numbers.len() > 1 && one_way && 10 * by_one >= 9 * (numbers.len() - 1)
}

/// How a column's cells are read as numbers; `None` where most are no numbers.
pub(super) fn reading(rows: &[Numbered], column: usize, decimal: Decimal) -> Option<CellReading> {
    let cells = || rows.iter().map(|(_, row)| row.get(column));
    let (mut numbers, mut others, mut truths) = (0, 0, 0);
    for cell in cells() {
        match parse_number(cell, decimal) {
            CellValue::Number(_) => numbers += 1,
            CellValue::Missing => {}
            CellValue::Other => {
                others += 1;
                truths += usize::from(truth(cell).is_some());
            }
        }
    }
    if others == 0 || numbers > others {
        // A column that is empty at first may fill later: it is a channel that is missing.
        return Some(CellReading::Plain);
    }
    if truths == others && numbers == 0 {
        return Some(CellReading::Truth);
    }
    let base = cells().find_map(number::split_unit)?.1.to_owned();
    let with_unit = |cell: &[u8]| number::parse_with_unit(cell, decimal, &base);
    let good = cells()
        .filter(|cell| matches!(with_unit(cell), CellValue::Number(_)))
        .count();
    let bad = cells()
        .filter(|cell| with_unit(cell) == CellValue::Other)
        .count();
    (good > bad).then_some(CellReading::Unit(base))
}

/// 1 for `true`, 0 for `false`.
pub(super) fn truth(cell: &[u8]) -> Option<f64> {
    if cell.eq_ignore_ascii_case(b"true") {
        Some(1.0)
    } else if cell.eq_ignore_ascii_case(b"false") {
        Some(0.0)
    } else {
        None
    }
}
