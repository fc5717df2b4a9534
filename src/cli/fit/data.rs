//! From files to standardised samples: what to learn and what to test on.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::data_table::{DataError, DataTable};
use super::images;
use super::table::{Tables, Texts, Wanted};
use super::{FitArgs, Model, Task};
use crate::cli::CliError;
use crate::encode::{Encode, Latency, Population, ReceptiveFields, Spikes};
use crate::ep::Family;
use crate::fit::{Samples, Scaling, Targets, shuffled};

/// How columns become inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Encoding {
    /// Standardised numbers
    Raw,
    /// Spikes of 12 overlapping fields a column
    Population,
    /// The two of 12 fields a column beside the value, by closeness
    Latency,
    /// Numbers and latencies
    Both,
}

/// How a row becomes inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputCode {
    /// How its columns do.
    pub encoding: Encoding,
    /// [`CONSTANTS`] are inputs as well: weights on a grid place their thresholds by them.
    pub constants: bool,
}

/// Constant inputs beside the bias of weights on a grid. A weight of +-c on each is a binary fraction: their
/// sum is any multiple of the last within twice the first, so that a threshold may lie anywhere in a
/// column. The bias alone knows one place in front of the data and one behind it.
const CONSTANTS: [f32; 6] = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125];

/// Overlapping fields of a column, on [-2.5, 2.5] standard deviations.
const POPULATION: Population = Population {
    fields: 12,
    range: 2.5,
    half_width: 1.5,
};

/// The same fields by closeness. The sum of such inputs has no jumps, so that a threshold may lie between
/// two fields; spikes of overlapping fields put all thresholds of a column at the same eleven places,
/// and where no row was seen a curve that is learned from them is a step.
const LATENCY: Latency = Latency {
    fields: 12,
    range: 2.5,
};

/// Value of a regression's bias, in standard deviations of a column: its weights share the prior of
/// the other inputs, and thresholds should reach beyond the data. Chosen on held-out parts of the
/// training rows of six tables, where 1.5 to 3 were alike and 1 worse.
const BIAS: f32 = 2.0;

/// Samples with their targets.
pub type Part = (Samples, Targets);

/// Data of a fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FitData {
    /// To learn.
    pub train: Part,
    /// To test on.
    pub test: Option<Part>,
    /// Number of classes; `None` for regression.
    pub classes: Option<usize>,
    /// Standard deviation of the targets; 1 for classes.
    pub scale: f64,
    /// Scale of the targets.
    pub target: Scaling,
    /// Every other column; empty for images.
    pub columns: Vec<Column>,
    /// The rows to test on as they were read, and the column to predict; none for images.
    pub shown: Option<(DataTable, usize)>,
    /// Columns of texts and the texts that became inputs.
    pub texts: Vec<Texts>,
    /// Numbers that stand for the classes, in order.
    pub labels: Vec<f64>,
    /// How rows became inputs; `None` of images.
    pub code: Option<InputCode>,
    /// The one column of a regression on a single one; `None` of more.
    pub curve: Option<Curve>,
    /// Cells limited to the reach of their column, rows left out for their target.
    pub limited: u64,
    pub left_out: u64,
}

/// The rows of a regression on one column, for a picture of the learned curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The column.
    column: Column,
    code: InputCode,
    /// Rows learned.
    pub learned: Vec<DataPoint>,
    /// Rows to test on.
    pub tested: Vec<DataPoint>,
}

/// A row of two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataPoint {
    /// Input.
    pub x: f64,
    /// Target.
    pub y: f64,
}

impl Curve {
    /// The samples at which the inputs are `x`.
    pub fn samples(&self, x: &[f64]) -> Samples {
        let column = Column {
            number: 0,
            ..self.column
        };
        let rows = x.iter().map(std::slice::from_ref);
        encode(rows, &[column], self.code, BIAS)
    }
}

/// How one column becomes inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its number.
    pub number: usize,
    /// Its scale.
    pub scaling: Scaling,
    /// Some of its cells were missing: an input of its own spikes where one is.
    pub missing: bool,
}

impl Column {
    fn of(table: &DataTable, number: usize) -> Column {
        let cells = || (0..table.rows()).map(|i| table.row(i)[number]);
        Column {
            number,
            scaling: match table.one_hot[number] {
                true => Scaling {
                    mean: 0.0,
                    sd: 1.0,
                    reach: (0.0, 1.0),
                },
                false => Scaling::of(cells()),
            },
            missing: cells().any(|v| !v.is_finite()),
        }
    }
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> CliError {
        match error {
            DataError::Io { .. } | DataError::Table { .. } => CliError::Runtime(error.to_string()),
            _ => CliError::Config(error.to_string()),
        }
    }
}

impl FitData {
    /// Reads what the arguments ask for.
    ///
    /// # Errors
    /// If a file cannot be read or does not fit the task.
    pub fn load(args: &FitArgs, saved: Option<&Model>) -> Result<FitData, CliError> {
        if args.train_images.is_some() || (saved.is_some() && args.test_images.is_some()) {
            return Ok(FitData::from_images(args)?);
        }
        let paths: Vec<&Path> = match (&args.train, &args.test, &args.data) {
            (Some(train), Some(test), _) => vec![train, test],
            (None, None, Some(data)) => vec![data],
            (None, Some(test), None) if saved.is_some() => vec![test],
            _ => {
                let text = "give --train and --test, or --data, or --train-images";
                return Err(CliError::Config(text.into()));
            }
        };
        let wanted = Wanted {
            target: args.target.as_deref().unwrap_or_default(),
            classes: args.task == Task::Classification,
            ignore: &args.ignore,
            texts: saved.map(|saved| saved.texts.as_slice()),
        };
        let mut read = Tables::read(&paths, wanted)?;
        if !read.left_out.is_empty() {
            let names = read.left_out.join(", ");
            eprintln!(
                "left out, texts that are no kinds (more than 20, or fewer than 5 rows each): {names}"
            );
        }
        for texts in &read.texts {
            let (name, n) = (&texts.name, texts.texts.len());
            eprintln!("column {name}: a spike for each of {n} texts");
        }
        let (mut train, test) = match read.tables.pop() {
            Some(test) if !read.tables.is_empty() => (read.tables.remove(0), test),
            Some(test) if args.data.is_none() => (test.clone(), test),
            Some(data) => split(&data, args)?,
            None => return Err(CliError::Config("no table".into())),
        };
        if train.names.len() != test.names.len() {
            let text = "the tables to learn and to test on differ in their columns";
            return Err(CliError::Config(text.into()));
        }
        if let Some(limit) = args.limit {
            train = train.select(&(0..train.rows().min(limit)).collect::<Vec<_>>());
        }
        let grid = args.task == Task::Regression && args.weights != Family::Gaussian;
        let usual = if grid { Encoding::Both } else { Encoding::Raw };
        let code = saved.and_then(|saved| saved.code).unwrap_or(InputCode {
            encoding: args.encode.unwrap_or(usual),
            constants: grid,
        });
        let task = args.task;
        let data = FitData::from_tables(&train, &test, read.target, task, code, saved)?;
        let texts = read.texts;
        Ok(FitData { texts, ..data })
    }

    /// Standardises two tables by the first one's columns, or as a saved model was.
    ///
    /// # Errors
    /// If a target cannot be used or nothing is left.
    pub fn from_tables(
        train: &DataTable,
        test: &DataTable,
        target: usize,
        task: Task,
        code: InputCode,
        saved: Option<&Model>,
    ) -> Result<FitData, DataError> {
        let whole = Scaling::of((0..train.rows()).map(|i| train.row(i)[target]));
        let goal = saved.map_or(whole, |saved| saved.target);
        let far = |y: f64| task == Task::Regression && goal.is_far(y);
        let usable = |table: &DataTable| -> Vec<usize> {
            let good = |i: &usize| table.row(*i)[target].is_finite() && !far(table.row(*i)[target]);
            (0..table.rows()).filter(good).collect()
        };
        let wild = |table: &DataTable| {
            (0..table.rows())
                .filter(|i| far(table.row(*i)[target]))
                .count()
        };
        let left_out = (wild(train) + wild(test)) as u64;
        let (train, test) = (train.select(&usable(train)), test.select(&usable(test)));
        if train.cells.is_empty() || test.cells.is_empty() {
            let text = "no row has a target, to learn or to test on";
            return Err(DataError::Misfit(text.into()));
        }
        let others = (0..train.names.len()).filter(|c| *c != target);
        let columns = match saved {
            None => others.map(|c| Column::of(&train, c)).collect(),
            Some(saved) if saved.columns.iter().map(|c| c.number).eq(others) => {
                saved.columns.clone()
            }
            Some(_) => {
                let text = "the table's columns are not those of the model";
                return Err(DataError::Misfit(text.into()));
            }
        };
        let bias = match task {
            Task::Regression => BIAS,
            Task::Classification => 1.0,
        };
        let encoded = |table: &DataTable| {
            encode(
                (0..table.rows()).map(|i| table.row(i)),
                &columns,
                code,
                bias,
            )
        };
        let cells = [&train, &test].into_iter().flat_map(|table| {
            let rows = (0..table.rows()).map(|i| table.row(i));
            rows.flat_map(|row| columns.iter().filter(|c| c.scaling.is_far(row[c.number])))
        });
        let limited = cells.count() as u64;
        let column = |table: &DataTable| -> Vec<f64> {
            (0..table.rows()).map(|i| table.row(i)[target]).collect()
        };
        let (y, y_test) = (column(&train), column(&test));
        let inputs = (encoded(&train), encoded(&test));
        let (parts, classes, labels) = match task {
            Task::Regression => {
                let scaled =
                    |y: &[f64]| Targets::Real(y.iter().map(|y| goal.scaled(*y) as f32).collect());
                ((scaled(&y), scaled(&y_test)), None, Vec::new())
            }
            Task::Classification => {
                let mut labels: Vec<f64> = match saved {
                    Some(saved) => saved.labels.clone(),
                    None => y.clone(),
                };
                labels.sort_by(f64::total_cmp);
                labels.dedup();
                let parts = (classes(&y, &labels)?, classes(&y_test, &labels)?);
                (parts, Some(labels.len()), labels)
            }
        };
        let regression = task == Task::Regression;
        let curve = match columns[..] {
            [column] if regression => {
                let points = |table: &DataTable| -> Vec<DataPoint> {
                    let rows = (0..table.rows()).map(|i| table.row(i));
                    let points = rows.map(|row| DataPoint {
                        x: row[column.number],
                        y: row[target],
                    });
                    points.filter(|point| point.x.is_finite()).collect()
                };
                Some(Curve {
                    column,
                    code,
                    learned: points(&train),
                    tested: points(&test),
                })
            }
            _ => None,
        };
        Ok(FitData {
            train: (inputs.0, parts.0),
            test: Some((inputs.1, parts.1)),
            classes,
            scale: if regression { goal.sd } else { 1.0 },
            target: goal,
            columns,
            shown: Some((test, target)),
            texts: Vec::new(),
            labels,
            code: Some(code),
            curve,
            limited,
            left_out,
        })
    }

    fn from_images(args: &FitArgs) -> Result<FitData, DataError> {
        if args.task != Task::Classification {
            let text = "images have labels: --task classification";
            return Err(DataError::Misfit(text.into()));
        }
        let load = |images, labels, limit: Option<usize>| -> Result<_, DataError> {
            let (images, labels) = (images::read(images)?, images::read(labels)?);
            if labels.width != 1 || labels.rows != images.rows {
                let text = format!("{} images with {} labels", images.rows, labels.values.len());
                return Err(DataError::Misfit(text));
            }
            let top = images.values.iter().copied().fold(0.0f32, f32::max);
            let scale = if top > 0.0 { 1.0 / top } else { 1.0 };
            let n = images.rows.min(limit.unwrap_or(images.rows));
            let mut samples = Samples::default();
            let mut fields = match (args.receptive_fields, images.image) {
                (false, _) => None,
                (true, Some((height, width))) => Some(ReceptiveFields::new(width, height)),
                (true, None) => {
                    let text = "--receptive-fields needs images of three dimensions: how many, rows, columns";
                    return Err(DataError::Misfit(text.into()));
                }
            };
            let mut spikes = Spikes::default();
            for row in images.values.chunks_exact(images.width).take(n) {
                let Some(fields) = &mut fields else {
                    samples.push(row.iter().map(|v| scale * v), 1.0);
                    continue;
                };
                fields.encode(row, &mut spikes);
                samples.push_spikes(&spikes, fields.inputs(), 1.0);
            }
            let labels: Vec<f64> = labels.values[..n].iter().map(|v| f64::from(*v)).collect();
            Ok((samples, labels))
        };
        let images = args.train_images.as_ref().or(args.test_images.as_ref());
        let labels = args.train_labels.as_ref().or(args.test_labels.as_ref());
        let (Some(images), Some(labels)) = (images, labels) else {
            return Err(DataError::Misfit("images need labels".into()));
        };
        let (train, y) = load(images, labels, args.limit)?;
        let mut known = y.clone();
        known.sort_by(f64::total_cmp);
        known.dedup();
        let test = match (&args.test_images, &args.test_labels) {
            (Some(images), Some(labels)) => {
                let (samples, y) = load(images, labels, None)?;
                Some((samples, classes(&y, &known)?))
            }
            _ => None,
        };
        Ok(FitData {
            train: (train, classes(&y, &known)?),
            test,
            classes: Some(known.len()),
            scale: 1.0,
            target: Scaling::of(std::iter::empty()),
            columns: Vec::new(),
            shown: None,
            texts: Vec::new(),
            labels: known,
            code: None,
            curve: None,
            limited: 0,
            left_out: 0,
        })
    }
}

fn split(table: &DataTable, args: &FitArgs) -> Result<(DataTable, DataTable), CliError> {
    let cut = (args.split * table.rows() as f64).round();
    if !(cut >= 1.0 && cut < table.rows() as f64) {
        let text = format!("--split {} leaves one part empty", args.split);
        return Err(CliError::Config(text));
    }
    let order = shuffled(table.rows(), args.seed, u32::MAX);
    let (train, test) = order.split_at(cut as usize);
    Ok((table.select(train), table.select(test)))
}

/// Samples of rows, each with the bias as its last input.
fn encode<'a>(
    rows: impl Iterator<Item = &'a [f64]>,
    columns: &[Column],
    code: InputCode,
    bias: f32,
) -> Samples {
    let (mut samples, mut active) = (Samples::default(), Spikes::default());
    for row in rows {
        active.clear();
        let width = encode_row(row, columns, code, &mut active);
        samples.push_spikes(&active, width as usize, bias);
    }
    samples
}

/// Writes the active inputs of one row to `out`; the number of all. A missing cell is its column's mean,
/// with a spike of its own where the rows to learn had any.
fn encode_row(row: &[f64], columns: &[Column], code: InputCode, out: &mut Spikes) -> u32 {
    let fields: Option<&dyn Encode> = match code.encoding {
        Encoding::Raw => None,
        Encoding::Population => Some(&POPULATION),
        Encoding::Latency | Encoding::Both => Some(&LATENCY),
    };
    let numbers = matches!(code.encoding, Encoding::Raw | Encoding::Both);
    let scaled = |c: &Column| c.scaling.scaled(row[c.number]) as f32;
    let mut at = 0;
    for column in fields.iter().flat_map(|_| columns) {
        if let Some(fields) = fields {
            let z = scaled(column);
            if !z.is_nan() {
                fields.encode(z, at, out);
            }
            at += fields.width();
        }
    }
    let numbers = columns.iter().filter(|_| numbers).map(scaled);
    let missing = columns.iter().filter(|c| c.missing);
    let missing = missing.map(|c| f32::from(u8::from(!row[c.number].is_finite())));
    let constants = CONSTANTS.into_iter().filter(|_| code.constants);
    for value in numbers.chain(missing).chain(constants) {
        if value.is_finite() {
            out.push(at, value);
        }
        at += 1;
    }
    at
}

fn classes(y: &[f64], labels: &[f64]) -> Result<Targets, DataError> {
    let find = |y: &f64| {
        labels
            .binary_search_by(|label| label.total_cmp(y))
            .map_err(|_| DataError::Misfit(format!("class {y} is not among those to learn")))
    };
    Ok(Targets::Class(
        y.iter().map(find).collect::<Result<_, _>>()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: InputCode = InputCode {
        encoding: Encoding::Raw,
        constants: false,
    };

    #[test]
    fn columns_are_standardised_by_the_rows_to_learn() {
        let files = ["a,b,y\n1,5,10\n3,5,30\n", "a,b,y\n5,,20\n"];
        let texts = files.map(|text| (text.to_owned(), "t".to_owned()));
        let tables = Tables::parse(&texts, Wanted::default()).unwrap().tables;
        let (train, test) = (&tables[0], &tables[1]);
        let data = FitData::from_tables(train, test, 2, Task::Regression, RAW, None).unwrap();
        assert_eq!(data.scale, 10.0);
        // A constant column is silent, the bias is last.
        assert_eq!(data.train.0.get(0).index, [0, 2]);
        assert_eq!(data.train.0.get(0).value, [-1.0, BIAS]);
        let (samples, targets) = data.test.unwrap();
        assert_eq!(samples.get(0).value, [3.0, BIAS]);
        assert_eq!(targets, Targets::Real(vec![0.0]));
    }

    #[test]
    fn a_missing_cell_spikes_where_the_rows_to_learn_had_any() {
        let files = ["a,y\n1,5\n,7\n3,9\n", "a,y\n,6\n2,6\n"];
        let texts = files.map(|text| (text.to_owned(), "t".to_owned()));
        let tables = Tables::parse(&texts, Wanted::default()).unwrap().tables;
        let task = Task::Regression;
        let data = FitData::from_tables(&tables[0], &tables[1], 1, task, RAW, None).unwrap();
        let (samples, _) = data.test.unwrap();
        assert_eq!(samples.get(0).index, [1, 2]);
        assert_eq!(samples.get(1).index, [2]);
    }

    #[test]
    fn wild_cells_are_limited_and_wild_targets_left_out_and_both_are_counted() {
        let mut text = String::from("a,y\n");
        for i in 0..100 {
            let wild = if i == 50 { "1e6" } else { "0.5" };
            let target = if i == 70 { "1e308" } else { "2" };
            text += &format!(
                "{},{}\n",
                if i == 50 { wild.into() } else { i.to_string() },
                if i == 70 {
                    target.into()
                } else {
                    (i % 7).to_string()
                }
            );
        }
        let texts = [(text, "t".to_owned())];
        let table = &Tables::parse(&texts, Wanted::default()).unwrap().tables[0];
        let task = Task::Regression;
        let data = FitData::from_tables(table, table, 1, task, RAW, None).unwrap();
        assert_eq!((data.limited, data.left_out), (2, 2));
        let (samples, Targets::Real(y)) = &data.train else {
            panic!()
        };
        assert!(y.iter().all(|y| y.abs() < 3.0));
        assert!((0..99).all(|i| samples.get(i).value[0].abs() < 200.0));
    }

    #[test]
    fn fields_are_active_around_the_value() {
        let row = [0.0];
        let columns = [Column {
            number: 0,
            scaling: Scaling {
                mean: 0.0,
                sd: 1.0,
                reach: (-9.0, 9.0),
            },
            missing: false,
        }];
        let encoded = |encoding, constants| {
            let code = InputCode {
                encoding,
                constants,
            };
            let mut out = Spikes::default();
            let width = encode_row(&row, &columns, code, &mut out);
            (out, width)
        };
        let (spikes, width) = encoded(Encoding::Population, false);
        assert_eq!(spikes.index, [4, 5, 6, 7]);
        assert_eq!((spikes.value, width), (vec![1.0; 4], 12));
        // The number itself is 0, which is silence.
        let (both, width) = encoded(Encoding::Both, false);
        assert_eq!((both.index, both.value), (vec![5, 6], vec![0.5, 0.5]));
        assert_eq!(width, 13);
        let (constants, width) = encoded(Encoding::Raw, true);
        assert_eq!((&constants.value[..], width), (&CONSTANTS[..], 7));
    }

    #[test]
    fn classes_are_numbered_in_order_and_unknown_ones_refused() {
        assert_eq!(
            classes(&[7.0, 3.0], &[3.0, 7.0]).unwrap(),
            Targets::Class(vec![1, 0])
        );
        assert!(classes(&[4.0], &[3.0, 7.0]).is_err());
    }
}
