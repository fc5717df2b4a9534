//! Options of `spiked replay` that say how a recording is to be read.

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use crate::cli::CliError;
use crate::table::{Decimal, Header, LayoutOptions, Separator, TableOptions, TableShape};

/// How a table is laid out; everything is found by its content where it is not given.
#[derive(Debug, Default, Args)]
pub struct ReadingArgs {
    /// The time column (default: found by its name or its content)
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// How its times are written, such as "%d/%m/%Y %H:%M" (strftime; default: found by its content)
    #[arg(long, value_name = "PATTERN")]
    pub time_format: Option<String>,
    /// Zone of times without an offset, such as Europe/Berlin (default: UTC, or what the header says)
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// Columns that are no channels
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// The line that holds the names, from 1; 0: there is none (default: found)
    #[arg(long, value_name = "LINE")]
    pub header: Option<u64>,
    /// The separator: a character, tab or blanks (default: found)
    #[arg(long, value_name = "CHARACTER")]
    pub separator: Option<String>,
    /// The encoding, such as latin1 or utf-16le (default: found)
    #[arg(long, value_name = "LABEL")]
    pub encoding: Option<String>,
    /// The mark between the whole and the rest of a number (default: found)
    #[arg(long, value_name = "MARK")]
    pub decimal: Option<DecimalMark>,
    /// A line is one reading: the columns that name the channel, then that of the value
    #[arg(
        long,
        value_name = "NAME,VALUE",
        value_delimiter = ',',
        conflicts_with = "wide"
    )]
    pub long: Vec<String>,
    /// A column is a channel, whatever the file looks like
    #[arg(long)]
    pub wide: bool,
    /// Numbers that stand for a missing value, or none (default: found, as -999.9 far below the others)
    #[arg(
        long,
        value_name = "NUMBER,...",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub missing: Vec<String>,
    /// Take the rows in the order of the file, also where that is newest first
    #[arg(long)]
    pub keep_order: bool,
}

/// The decimal mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecimalMark {
    /// 1.5
    Point,
    /// 1,5
    Comma,
}

impl ReadingArgs {
    /// As options of the table reader.
    ///
    /// # Errors
    /// If a zone, an encoding or a separator is none.
    pub fn options(&self) -> Result<TableOptions, CliError> {
        let timezone = self.timezone.as_deref().map(zone).transpose()?;
        let shape = match self.long.as_slice() {
            [] if self.wide => TableShape::Wide,
            [] => TableShape::Found,
            [names @ .., value] if !names.is_empty() => TableShape::Long {
                names: names.to_vec(),
                value: value.clone(),
            },
            other => {
                let text = "--long: the column of names, a comma, the column of values";
                return Err(CliError::Config(format!(
                    "{text}; got {:?}",
                    other.join(",")
                )));
            }
        };
        Ok(TableOptions {
            layout: self.layout()?,
            time: self.time.clone(),
            time_format: self.time_format.clone(),
            timezone,
            ignore: self.ignore.clone(),
            shape,
            missing: self.missing()?,
            keep_order: self.keep_order,
            states: None,
        })
    }

    fn missing(&self) -> Result<Option<Vec<f64>>, CliError> {
        match self.missing.as_slice() {
            [] => return Ok(None),
            [word] if word == "none" => return Ok(Some(Vec::new())),
            _ => {}
        }
        let numbers = self.missing.iter().map(|text| {
            let number = text.trim().parse::<f64>().ok();
            number.ok_or_else(|| {
                CliError::Config(format!(
                    "--missing: numbers such as -999.9,-9999, or the word none; got {text:?}"
                ))
            })
        });
        numbers.collect::<Result<_, _>>().map(Some)
    }

    fn layout(&self) -> Result<LayoutOptions, CliError> {
        let encoding = self.encoding.as_deref().map(|label| {
            encoding_rs::Encoding::for_label(label.as_bytes()).ok_or_else(|| {
                let text = "--encoding: a label such as utf-8, utf-16le, latin1 or windows-1252";
                CliError::Config(format!("{text}; got {label:?}"))
            })
        });
        let separator = self.separator.as_deref().map(|text| match text {
            "tab" | "\\t" => Ok(Separator::Byte(b'\t')),
            "blanks" | " " => Ok(Separator::Blanks),
            _ => match text.as_bytes() {
                [byte] if byte.is_ascii_punctuation() || *byte == b'\t' => {
                    Ok(Separator::Byte(*byte))
                }
                _ => Err(CliError::Config(format!(
                    "--separator: one character such as ; or the word tab or blanks; got {text:?}"
                ))),
            },
        });
        Ok(LayoutOptions {
            encoding: encoding.transpose()?,
            separator: separator.transpose()?,
            header: match self.header {
                None => Header::Found,
                Some(0) => Header::None,
                Some(line) => Header::Line(line),
            },
            decimal: self.decimal.map(|mark| match mark {
                DecimalMark::Point => Decimal::Point,
                DecimalMark::Comma => Decimal::Comma,
            }),
        })
    }
}

fn zone(name: &str) -> Result<TimeZone, CliError> {
    TimeZone::get(name).map_err(|_| {
        CliError::Config(format!(
            "--timezone: a name of the IANA database such as Europe/Berlin or UTC; got {name:?}"
        ))
    })
}
