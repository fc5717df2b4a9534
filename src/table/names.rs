//! Names that columns of times, of parts of them and of row numbers usually have.

/// Names that a time column usually has, in small letters without anything but letters.
const TIME_NAMES: [&str; 79] = [
    "ts",
    "time",
    "timestamp",
    "datetime",
    "date",
    "t",
    "zeit",
    "uhrzeit",
    "datum",
    "zeitstempel",
    "zeitpunkt",
    "datumzeit",
    "datumuhrzeit",
    "datumunduhrzeit",
    "tijd",
    "fecha",
    "hora",
    "fechahora",
    "heure",
    "dateheure",
    "horodatage",
    "dataora",
    "tid",
    "when",
    "utc",
    "timeutc",
    "utctime",
    "dateutc",
    "datetimeutc",
    "utcdatetime",
    "timestamputc",
    "utctimestamp",
    "localtime",
    "timelocal",
    "eventtime",
    "sampletime",
    "recordedat",
    "measuredat",
    "createdat",
    "readingtime",
    "timeofday",
    "lastchanged",
    "lastupdated",
    "dateandtime",
    "stamp",
    "messdatum",
    "messzeit",
    "timestring",
    "zeitpunktutc",
    "elapsed",
    "elapsedtime",
    "seconds",
    "sec",
    "times",
    "timems",
    "timeus",
    "timens",
    "timesec",
    "timeseconds",
    "observationtime",
    "obstime",
    "validtime",
    "datetimelocal",
    "fechayhora",
    "datahora",
    "dataeora",
    "tidpunkt",
    "tidspunkt",
    "dato",
    "datumtijd",
    "czas",
    "aika",
    "время",
    "дата",
    "датаивремя",
    "时间",
    "日期",
    "日時",
    "時刻",
];

/// Names that row numbers usually have, in small letters.
pub(super) const ROW_NUMBER_NAMES: [&str; 17] = [
    "",
    "#",
    "record",
    "recno",
    "index",
    "idx",
    "row",
    "rownumber",
    "row number",
    "no",
    "no.",
    "nr",
    "nr.",
    "lfd. nr.",
    "unnamed: 0",
    "id",
    "sample",
];

/// Names of parts of a date that stand in columns of their own, in this order: `mm` is the minute where
/// another is the month.
pub(super) const PARTS: [&[&str]; 6] = [
    &[
        "year", "yyyy", "yy", "yr", "jahr", "année", "annee", "año", "ano", "anno", "jaar", "år",
    ],
    &[
        "month", "mm", "mo", "mon", "monat", "mois", "mes", "mese", "maand", "månad",
    ],
    &[
        "day", "dd", "dy", "tag", "jour", "dia", "día", "giorno", "dag",
    ],
    &[
        "hour", "hh", "hr", "stunde", "heure", "hora", "ora", "uur", "timme",
    ],
    &[
        "minute", "min", "mi", "mn", "mm", "minuto", "minuut", "minut",
    ],
    &[
        "second", "sec", "ss", "sekunde", "seconde", "segundo", "secondo",
    ],
];

/// The letters of a name, in small ones, without what stands in brackets.
pub(super) fn letters(name: &str) -> String {
    let bare = name.split(['(', '[', ',']).next().unwrap_or(name);
    bare.chars()
        .filter(|c| c.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The name is one that time columns have, perhaps with a unit behind it: `elapsed_s`.
pub(super) fn is_time_name(name: &str) -> bool {
    let is = |name: &str| TIME_NAMES.contains(&letters(name).as_str());
    let in_unit = |(name, unit): (&str, &str)| {
        is(name)
            && matches!(
                unit.to_lowercase().as_str(),
                "s" | "sec" | "secs" | "ms" | "us" | "ns"
            )
    };
    is(name) || name.rsplit_once(['_', ' ', '-', '.']).is_some_and(in_unit)
}
