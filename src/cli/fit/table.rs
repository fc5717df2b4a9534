//! Reads tables of numbers: CSV with comma, semicolon or white space, with or without a header.
//! A column of few texts becomes one column of 0 and 1 a text (one-hot); of many, it is left out.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::data_table::{DataError, DataTable};
use super::file::{ChosenColumns, File};

/// A column of texts and the texts that became a column each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// Name of the column.
    pub name: String,
    /// Its texts, in order.
    pub texts: Vec<String>,
}

/// Most texts of a column that become inputs: more are names or times, not kinds.
const MOST_TEXTS: usize = 20;

/// Fewest rows for each text of a column that becomes inputs: below it a text says little of rows to
/// come.
const ROWS_A_TEXT: usize = 5;

/// The user's settings of the columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The column to predict.
    pub target: &'a str,
    /// Its texts are classes.
    pub classes: bool,
    /// Columns to leave out.
    pub ignore: &'a [String],
    /// The texts of a saved model's columns; without one, those of the first file.
    pub texts: Option<&'a [Texts]>,
}

/// Tables with the same columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// In the order of the files.
    pub tables: Vec<DataTable>,
    /// The column to predict; 0 where none was named.
    pub target: usize,
    /// Columns of texts that became a column a text.
    pub texts: Vec<Texts>,
    /// Columns left out since they hold many texts.
    pub left_out: Vec<String>,
    /// Texts of the target's classes, in order, where it has texts: cells hold their places.
    pub classes: Vec<String>,
}

impl Tables {
    /// Reads files, all by what the first one's columns hold.
    ///
    /// # Errors
    /// If one cannot be read, holds no data, or a cell is no number in a column of numbers.
    pub fn read(paths: &[&Path], wanted: Wanted<'_>) -> Result<Tables, DataError> {
        let shown: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let files = paths.iter().zip(&shown).map(|(path, shown)| {
            let input = std::fs::File::open(path).map_err(|source| DataError::Io {
                path: shown.clone(),
                source,
            })?;
            File::of(input, shown)
        });
        Tables::of(&files.collect::<Result<Vec<File<'_>>, _>>()?, wanted)
    }

    /// Reads texts, each with its path for messages.
    #[cfg(test)]
    pub(super) fn parse(
        texts: &[(String, String)],
        wanted: Wanted<'_>,
    ) -> Result<Tables, DataError> {
        let files = texts
            .iter()
            .map(|(text, path)| File::of(text.as_bytes(), path));
        Tables::of(&files.collect::<Result<Vec<File<'_>>, _>>()?, wanted)
    }

    fn of(files: &[File<'_>], wanted: Wanted<'_>) -> Result<Tables, DataError> {
        let Some(first) = files.first() else {
            return Err(DataError::Empty(String::new()));
        };
        let target = match wanted.target {
            "" => None,
            name => Some(place(&first.names, name)?),
        };
        let ignore: Vec<usize> = wanted
            .ignore
            .iter()
            .map(|name| place(&first.names, name))
            .collect::<Result<_, _>>()?;
        let named = target.filter(|&t| wanted.classes && first.words[t]);
        let (mut kept, mut left_out, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (column, name) in first.names.iter().enumerate() {
            let saved = wanted
                .texts
                .map(|all| all.iter().find(|texts| texts.name == *name));
            let was_kind = matches!(saved, Some(Some(_)));
            let words = first.words[column] || was_kind;
            if Some(column) == target || !(ignore.contains(&column) || words) {
                kept.push((column, None));
            } else if !ignore.contains(&column) {
                let texts = match saved {
                    Some(Some(saved)) => saved.texts.clone(),
                    Some(None) => Vec::new(),
                    None => first.texts(column),
                };
                if !was_kind && !is_kind(texts.len(), first.rows()) {
                    left_out.push(name.clone());
                    continue;
                }
                kept.extend(texts.iter().map(|text| (column, Some(text.clone()))));
                let name = name.clone();
                known.push(Texts { name, texts });
            }
        }
        let place_of = |target| kept.iter().position(|(column, _)| *column == target);
        let at = target.and_then(place_of).unwrap_or(0);
        let classes = named.map(|column| first.texts(column)).unwrap_or_default();
        let columns = ChosenColumns {
            kept,
            named,
            classes,
        };
        let tables = files.iter().map(|file| file.table(&columns));
        Ok(Tables {
            tables: tables.collect::<Result<_, _>>()?,
            target: at,
            texts: known,
            left_out,
            classes: columns.classes,
        })
    }
}

/// So many texts in so many rows are kinds of something.
fn is_kind(texts: usize, rows: usize) -> bool {
    (2..=MOST_TEXTS).contains(&texts) && ROWS_A_TEXT * texts <= rows
}

/// A column by its name or, failing that, its number from 0.
fn place(names: &[String], name: &str) -> Result<usize, DataError> {
    let by_name = names.iter().position(|n| n == name);
    let by_number = || name.parse().ok().filter(|i| *i < names.len());
    by_name
        .or_else(by_number)
        .ok_or_else(|| DataError::NoColumn(name.into(), names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, path: &str) -> Result<DataTable, DataError> {
        Tables::parse(&[(text.to_owned(), path.to_owned())], Wanted::default())
            .map(|mut tables| tables.tables.remove(0))
    }

    #[test]
    fn commas_semicolons_tabs_and_spaces_all_work() {
        let want = DataTable {
            names: vec!["0".into(), "1".into()],
            one_hot: vec![false; 2],
            cells: vec![1.0, 2.5, -3.0, 4e2],
        };
        for text in [
            "1,2.5\n-3,4e2\n",
            "1; 2.5\r\n-3; 4e2",
            "1\t2.5\n-3\t4e2",
            "  1   2.5\n\n -3 4e2  \n",
        ] {
            assert_eq!(parse(text, "t").unwrap(), want, "{text:?}");
        }
    }

    #[test]
    fn a_header_names_the_columns_and_quotes_go() {
        let table = parse("\"fixed acidity\";quality\n7.4;5\n;6\n", "t").unwrap();
        assert_eq!(place(&table.names, "quality").unwrap(), 1);
        assert_eq!(place(&table.names, "0").unwrap(), 0);
        assert!(table.row(1)[0].is_nan());
        assert!(place(&table.names, "7").is_err());
    }

    #[test]
    fn quoted_fields_may_hold_separators_line_breaks_and_quotes() {
        let text = "\u{feff}\"length, mm\",\"said \"\"y\"\"\",\"two\nlines\"\r\n\"1\", \"2.5\" ,3\r\n4,,\"6\"";
        let table = parse(text, "t").unwrap();
        assert_eq!(table.names, ["length, mm", "said \"y\"", "two\nlines"]);
        assert_eq!(table.row(0), [1.0, 2.5, 3.0]);
        assert!(table.row(1)[1].is_nan());
        // The header takes two lines: the fault is in line 4 of the file.
        let error = parse("\"a\nb\";c\n1;2\n3;x\n", "t").unwrap_err();
        assert!(
            error.to_string().starts_with("t, line 4, column 2"),
            "{error}"
        );
        let ragged = parse("a,b\n\"1,5\"\n", "t").unwrap_err();
        assert!(
            matches!(ragged, DataError::Ragged { got: 1, .. }),
            "{ragged}"
        );
    }

    #[test]
    fn faults_carry_line_and_column() {
        let error = parse("a,b\n1,2\n3,x\n", "t.csv").unwrap_err();
        assert_eq!(
            error.to_string(),
            "t.csv, line 3, column 2: 'x' is not a number"
        );
        let error = parse("1 2\n3\n", "t").unwrap_err();
        assert!(matches!(error, DataError::Ragged { line: 2, .. }));
        assert!(matches!(parse("\n", "t"), Err(DataError::Empty(_))));
        assert!(matches!(parse("a,b\n", "t"), Err(DataError::Empty(_))));
    }

    #[test]
    fn texts_are_left_out_unless_they_name_classes_and_commas_may_be_decimal() {
        let ignore = ["id".to_owned()];
        let wanted = Wanted {
            target: "state",
            classes: true,
            ignore: &ignore,
            texts: None,
        };
        let train = "when;id;x;state\n3.1.26;1;1,5;on\n4.1.26;2;;off\n5.1.26;3;-2;\n";
        let files = |test: &str| {
            let file = |text: &str, path: &str| (text.to_owned(), path.to_owned());
            [file(train, "a"), file(test, "b")]
        };
        let tables = Tables::parse(&files("when;id;x;state\n;9;2,5;on\n"), wanted).unwrap();
        assert_eq!(
            (tables.left_out, tables.classes),
            (
                vec!["when".to_owned()],
                vec!["off".to_owned(), "on".to_owned()]
            )
        );
        assert_eq!(tables.tables[0].names, ["x", "state"]);
        assert_eq!(
            (tables.target, tables.tables[0].row(0)),
            (1, &[1.5, 1.0][..])
        );
        assert!(tables.tables[0].row(1)[0].is_nan() && tables.tables[0].row(2)[1].is_nan());
        assert_eq!(tables.tables[1].cells, [2.5, 1.0]);
        let error = Tables::parse(&files("when;id;x;state\n;9;2,5;ajar\n"), wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "b, line 2: class 'ajar' is not among those to learn"
        );
        let number = Wanted {
            classes: false,
            ..wanted
        };
        let error = Tables::parse(&files("when;id;x;state\n;9;2,5;on\n"), number).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a, line 2, column 4: 'on' is not a number"
        );
    }

    #[test]
    fn few_texts_become_a_column_each_and_a_saved_models_texts_stay() {
        let mut train = String::from("id,colour,x,y\n");
        for i in 0..10 {
            let colour = ["red", "green"][i % 2];
            train += &format!("n{i},{colour},{i},1\n");
        }
        let test = "id,colour,x,y\na,green,1,2\nb,blue,2,3\nc,,3,4\n";
        let file = |text: &str| (text.to_owned(), "t".to_owned());
        let wanted = Wanted {
            target: "y",
            ..Wanted::default()
        };
        let both = Tables::parse(&[file(&train), file(test)], wanted).unwrap();
        assert_eq!(both.left_out, ["id"]);
        let names = ["colour=green", "colour=red", "x", "y"];
        assert_eq!(both.tables[1].names, names);
        assert_eq!(both.tables[1].one_hot, [true, true, false, false]);
        assert_eq!(both.target, 3);
        assert_eq!(both.tables[1].row(0), [1.0, 0.0, 1.0, 2.0]);
        // A text that was not there to learn is none of them; an empty cell is missing.
        assert_eq!(both.tables[1].row(1), [0.0, 0.0, 2.0, 3.0]);
        assert!(both.tables[1].row(2)[0].is_nan() && both.tables[1].row(2)[1].is_nan());
        let saved = Wanted {
            texts: Some(&both.texts),
            ..wanted
        };
        let alone = Tables::parse(&[file(test)], saved).unwrap();
        assert_eq!(alone.tables[0].names, names);
        assert_eq!(alone.tables[0].row(0), both.tables[1].row(0));
        assert_eq!(alone.left_out, ["id"]);
    }

    #[test]
    fn texts_need_no_header() {
        let table = parse("a,1,2\nb,3,4\n", "t").unwrap();
        assert_eq!(
            (table.names, table.cells),
            (
                vec!["1".to_owned(), "2".to_owned()],
                vec![1.0, 2.0, 3.0, 4.0]
            )
        );
    }
}
