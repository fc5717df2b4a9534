//! One table of readings in every form in which recordings come: each must be read as the same.

use std::io::Write;

use super::fixture::*;
use super::*;

#[test]
fn times_are_read_in_every_form() {
    for (pattern, separator) in [
        (ISO, ","),
        ("%Y-%m-%dT%H:%M:%SZ", ";"),
        ("%Y-%m-%d %H:%M:%S UTC", ","),
        ("%Y-%m-%d %H:%M:%S.000000+00:00", "\t"),
        ("%Y/%m/%d %H:%M", ","),
        ("%d.%m.%Y %H:%M:%S", ";"),
        ("%d/%m/%Y %-H:%M:%S", ","),
        ("%m/%d/%Y %-I:%M:%S %p", ","),
        ("%d-%b-%y %H:%M", "|"),
        ("%s", ","),
        ("%s000", "\t"),
        ("%s.000", ";"),
        ("%Y%m%d%H%M", ";"),
        ("%Y%m%d%H%M%S", ","),
        ("%-d %b %Y %H:%M Uhr", ";"),
        // In a column of their own.
        ("%d.%m.%Y|%H:%M:%S", ";"),
        ("%d/%m/%Y|%-H:%M:%S", ","),
        ("%d/%m/%Y|%H.%M.%S", ";"),
        ("%Y-%m-%d|%H:%M", " "),
        ("%Y|%m|%d|%H|%M", ","),
    ] {
        let names = match pattern.matches('|').count() {
            0 => "Timestamp",
            1 => "Date|Time",
            _ => "year|month|day|hour|minute",
        };
        let names = format!("{names}|temp|pres|hum").replace('|', separator);
        let text = format!("{names}\n{}\n", lines(pattern, separator, ".").join("\n"));
        let read = read_text(&text);
        assert!(read.ignored.is_empty(), "{pattern}: {:?}", read.ignored);
        check(&read, NAMES);
    }
}

#[test]
fn parts_of_a_date_are_known_by_their_names_in_any_case() {
    // As ocean buoys write them: MM is the month, mm the minute.
    let text = "#YY MM DD hh mm WSPD\n#yr mo dy hr mn m/s\n2026 03 01 10 30 4.5\n2026 03 01 10 40 MM\n2026 03 01 10 50 4.6\n";
    let read = read_text(text);
    assert_eq!(read.channels, ["WSPD"]);
    assert_eq!(read.rows[0].0, MIDNIGHT_MS + 37_800_000);
    assert_eq!(read.rows[1].0, MIDNIGHT_MS + 38_400_000);
}

#[test]
fn days_stand_before_months_where_commas_are_decimal() {
    let lines = |separator: &str, decimal: &str| {
        let line = |i: usize| format!("02/03/2026 10:0{i}{separator}1{decimal}{i}\n");
        format!("time{separator}a\n") + &(1..5).map(line).collect::<String>()
    };
    let german = read_text(&lines(";", ","));
    assert_eq!(german.rows[0].0, MIDNIGHT_MS + 86_400_000 + 36_060_000);
    let american = read_text(&lines(",", "."));
    assert_eq!(
        american.rows[0].0 - MIDNIGHT_MS,
        -26 * 86_400_000 + 36_060_000
    );
}

#[test]
fn beside_a_value_only_what_changes_for_a_name_is_a_channel() {
    let line = |i: usize| {
        let days = format!("{:.6}", 46_082.0 + i as f64 / 1440.0).replace('.', ",");
        let time = at(i, "%d.%m.%Y %H:%M:%S", "UTC");
        let [temp, pres, _] = values(i).map(|x| format!("{x:.2}").replace('.', ","));
        format!("\"Temp_1\";\"{time}\";{temp};1;{days}\n\"Press_1\";\"{time}\";{pres};1;{days}\n")
    };
    let head = "\"VarName\";\"TimeString\";\"VarValue\";\"Validity\";\"Time_ms\"\n";
    let read = read_text(&(head.to_owned() + &(0..ROWS).map(line).collect::<String>()));
    assert_eq!(read.channels, ["Temp_1", "Press_1"]);
    assert_eq!(read.rows[7].1, values(7)[..2]);
    assert!(read.ignored.iter().any(|name| name == "Validity"));
}

#[test]
fn a_minus_sign_of_typesetting_is_a_minus() {
    let read = read_text("time;a\n2026-03-01 10:00;\u{2212}0,5\n2026-03-01 10:01;1,5\n");
    assert_eq!(read.rows[0].1, [-0.5]);
}

#[test]
fn the_last_minute_of_a_day_may_be_written_as_24_00() {
    let text =
        "Datum;Uhrzeit;a\n01.03.2026;23:00;1,5\n01.03.2026;24:00;2,5\n02.03.2026;01:00;3,5\n";
    let read = read_text(text);
    let ms: Vec<i64> = read.rows.iter().map(|row| row.0).collect();
    assert_eq!(
        ms,
        [
            MIDNIGHT_MS + 82_800_000,
            MIDNIGHT_MS + 86_400_000,
            MIDNIGHT_MS + 90_000_000
        ]
    );
}

#[test]
fn lines_above_the_data_are_known_for_what_they_are() {
    let body = |separator: &str| lines(ISO, separator, ".").join("\n");
    let head = "time,temp,pres,hum";
    for (text, said) in [
        (
            format!("sep=;\n{}\n{}", head.replace(',', ";"), body(";")),
            "names the separator",
        ),
        (
            format!("Station 7\n\n{head}\n{}", body(",")),
            "names in line 3",
        ),
        (
            format!("Station 7,,,\nexported,2026-03-05,,\n{head}\n{}", body(",")),
            "names in line 3",
        ),
        (
            format!("# made by a logger\n# at 2026-03-05\n{head}\n{}", body(",")),
            "names in line 3",
        ),
        (format!("#{head}\n{}", body(",")), ""),
        (
            format!("{head}\nyyyy-mm-dd,\u{b0}C,hPa,%\n{}", body(",")),
            "passed over below the names",
        ),
        (format!("\u{feff}{head}\n\n{}\n\n\n,,,\n", body(",")), ""),
        (
            format!("{head},,\n{}", lines(ISO, ",", ".").join(",,\n") + ",,"),
            "",
        ),
    ] {
        let read = read_text(&text);
        assert!(
            read.found.contains(said),
            "{:?} in {:.80}",
            read.found,
            text
        );
        assert_eq!(read.lines_left_out, 0, "{text:.80}");
        check(&read, NAMES);
    }
}

#[test]
fn loggers_rows_of_units_and_row_numbers_are_no_data() {
    let numbered = |i: usize, line: &String| {
        let (time, rest) = line.split_once(',').unwrap();
        format!("\"{time}\",{i},{rest}")
    };
    let body: Vec<String> = lines(ISO, ",", ".")
        .iter()
        .enumerate()
        .map(|(i, l)| numbered(i, l))
        .collect();
    let body = body.join("\n");
    // As wide as the data, and narrower.
    for station in [
        "\"TOA5\",\"CR1000\",\"CR1000\",\"12345\",\"CR1000.Std.32.07\",\"CPU:w.CR1\",\"1234\",\"Weather\"",
        "\"TOA5\",\"CR1000\",\"CR1000\",\"12345\",\"CPU:w.CR1\"",
    ] {
        let text = format!(
            "{station}\n\"TIMESTAMP\",\"RECORD\",\"temp\",\"pres\",\"hum\"\n\
             \"TS\",\"RN\",\"Deg C\",\"hPa\",\"%\"\n\"\",\"\",\"Avg\",\"Avg\",\"Smp\"\n{body}\n"
        );
        let read = read_text(&text);
        assert_eq!(read.ignored, ["RECORD (row numbers)"]);
        check(&read, NAMES);
    }
    let title = "\"Plot Title: greenhouse\"\n\"#\",\"Date Time, GMT+00:00\",temp,pres,hum\n";
    let hobo: Vec<String> = lines("%m/%d/%y %I:%M:%S %p", ",", ".")
        .iter()
        .enumerate()
        .map(|(i, line)| format!("{},{line}", i + 1))
        .collect();
    let read = read_text(&format!("{title}{}\n", hobo.join("\n")));
    assert_eq!(read.ignored, ["# (row numbers)"]);
    check(&read, NAMES);
}

#[test]
fn devices_above_the_names_of_their_sensors_are_part_of_the_name() {
    let text = format!(
        "timestamp,Battery [1],Battery [1],Solar [2]\nEurope/Berlin (+01:00),Voltage,Current,Voltage\n\
         ,V,A,V\n{}\n",
        (0..ROWS)
            .map(|i| {
                let [a, b, c] = values(i);
                format!("{},{a},{b},{c}", at(i, ISO, "Europe/Berlin"))
            })
            .collect::<Vec<_>>()
            .join("\n")
    );
    check(
        &read_text(&text),
        [
            "Battery [1] Voltage",
            "Battery [1] Current",
            "Solar [2] Voltage",
        ],
    );
}

#[test]
fn a_file_without_names_numbers_its_columns() {
    let read = read_text(&lines("%s", ",", ".").join("\n"));
    assert!(read.found.contains("no header"), "{}", read.found);
    check(&read, ["2", "3", "4"]);
    let first_missing = format!(
        "1772323140,nan,nan,nan\n{}",
        lines("%s", ",", ".").join("\n")
    );
    assert_eq!(read_text(&first_missing).rows.len(), ROWS + 1);
    let options = TableOptions {
        layout: LayoutOptions {
            header: Header::Line(2),
            ..LayoutOptions::default()
        },
        ..TableOptions::default()
    };
    let text = format!(
        "1,2,3,4\nx,temp,pres,hum\n{}",
        lines("%s", ",", ".").join("\n")
    );
    check(&fixture::read(text.as_bytes(), &options).unwrap(), NAMES);
}

#[test]
fn encodings_and_compression_make_no_difference() {
    let text = format!(
        "Zeit;T [°C];p;φ\n{}\n",
        lines("%d.%m.%Y %H:%M:%S", ";", ",").join("\n")
    );
    let names = ["T [°C]", "p", "φ"];
    check(&read_text(&text), names);
    let wide: Vec<u8> = format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    check(&read(&wide, &TableOptions::default()).unwrap(), names);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    check(
        &read(&packed.finish().unwrap(), &TableOptions::default()).unwrap(),
        names,
    );
    let latin: Vec<u8> = text.replace('φ', "h").chars().map(|c| c as u8).collect();
    check(
        &read(&latin, &TableOptions::default()).unwrap(),
        ["T [°C]", "p", "h"],
    );
    let mac = text.replace('\n', "\r");
    check(&read_text(&mac), names);
}

#[test]
fn newest_first_is_turned_round_unless_the_order_is_to_be_kept() {
    let mut body = lines(ISO, ",", ".");
    body.reverse();
    let text = format!("time,temp,pres,hum\n{}\n", body.join("\n"));
    let read = read_text(&text);
    assert!(read.found.contains("newest first"), "{}", read.found);
    check(&read, NAMES);
    let kept = TableOptions {
        keep_order: true,
        ..TableOptions::default()
    };
    let read = fixture::read(text.as_bytes(), &kept).unwrap();
    assert_eq!(read.rows[0].0, START_MS + STEP_MS * (ROWS as i64 - 1));
}

#[test]
fn single_lines_that_cannot_be_read_are_counted_and_left_out() {
    for (at, line, left_out) in [
        (5, "# a comment", 0),
        (5, "   ", 0),
        (5, "no time,1,2,3", 1),
        (5, ",1,2,3", 1),
        (5, "2026-03-01 00:04:30,1,2,3,4,5", 1),
        (5, "time,temp,pres,hum", 0),
        (5, "\"never closed,1,2,3", 1),
        (ROWS, "Total,300,,", 1),
        (ROWS, "-- end of report --", 1),
    ] {
        let mut body = lines(ISO, ",", ".");
        body.insert(at, line.to_owned());
        let read = read_text(&format!("time,temp,pres,hum\n{}\n", body.join("\n")));
        assert_eq!(read.lines_left_out, left_out, "{line}");
        check(&read, NAMES);
    }
    let mostly = format!(
        "time,a\n{}{}",
        "2026-03-01,1\n".repeat(1500),
        "soon,2\n".repeat(5000)
    );
    let options = TableOptions {
        layout: LayoutOptions::default(),
        ..TableOptions::default()
    };
    let error = refusal(&mostly, &options);
    assert!(error.contains("soon") && error.contains("line"), "{error}");
}

#[test]
fn a_column_named_like_a_time_that_cannot_be_read_stops_the_run() {
    for text in [
        "time,temp\nfirst moment,1\nsecond moment,2\nthird,3\n",
        "temp,Zeitstempel\n1,Q1 2026\n2,Q2 2026\n3,Q3 2026\n",
        // The hour alone would put all rows of a day at midnight.
        "Date,Time,temp\n01/03/2026,noon,1\n01/03/2026,evening,2\n02/03/2026,noon,3\n",
    ] {
        let error = refusal(text, &TableOptions::default());
        assert!(
            error.contains("is no time") && error.contains("--time-format"),
            "{error}"
        );
    }
    let ignored = TableOptions {
        ignore: vec!["time".into()],
        ..TableOptions::default()
    };
    let read = read("time,a\nfirst,1\nsecond,2\n".as_bytes(), &ignored).unwrap();
    assert_eq!(read.channels, ["a"]);
}

#[test]
fn units_and_grouped_thousands_in_cells_are_numbers() {
    let cells = |i: usize| {
        let [a, b, c] = values(i);
        format!(
            "{},{a:.2} °C,\"{},{:06.2} hPa\",{c:.2}%",
            at(i, ISO, "UTC"),
            (b / 1000.0) as u32,
            b % 1000.0
        )
    };
    let body: Vec<String> = (0..ROWS).map(cells).collect();
    let read = read_text(&format!("time,temp,pres,hum\n{}\n", body.join("\n")));
    assert!(read.found.contains("temp in °C"), "{}", read.found);
    // Below 1000 hPa the group is a zero, which is no group.
    let good =
        |row: &(i64, Vec<f64>), i: usize| row.1[0] == values(i)[0] && row.1[2] == values(i)[2];
    assert!(read.rows.iter().enumerate().all(|(i, row)| good(row, i)));
    let quoted: Vec<String> = (0..ROWS)
        .map(|i| {
            format!(
                "{},{}",
                at(i, ISO, "UTC"),
                values(i)
                    .map(|x| format!("\"{x:.2}\"").replace('.', ","))
                    .join(",")
            )
        })
        .collect();
    let read = read_text(&format!("time,temp,pres,hum\n{}\n", quoted.join("\n")));
    assert!(read.found.contains("decimal comma"), "{}", read.found);
    check(&read, NAMES);
}

#[test]
fn a_line_a_reading_becomes_a_column_a_channel() {
    let time = |i: usize| at(i, ISO, "UTC");
    for text in [
        long("time,sensor,value", |i, name, x| {
            format!("{},{name},{x}", time(i))
        }),
        // The names of columns do not matter where times repeat.
        long("a;b;c", |i, name, x| {
            format!("{};{name};{}", time(i), x.to_string().replace('.', ","))
        }),
        long("Series;Time;Value", |i, name, x| {
            format!("{name};{};{x}", time(i))
        }),
        long("entity_id,state,last_changed", |i, name, x| {
            format!("{name},{x},{}", at(i, "%Y-%m-%dT%H:%M:%S.000Z", "UTC"))
        }),
        long("time,site,sensor,unit,value", |i, name, x| {
            format!("{},north,{name},u{name},{x}", time(i))
        }),
        long("time,sensor,value", |i, name, x| {
            format!("{},{name},{x} u", time(i))
        }),
    ] {
        let read = read_text(&text);
        assert!(
            read.found.contains("a line a reading"),
            "{}: {text:.100}",
            read.found
        );
        check(&read, NAMES);
    }
}

#[test]
fn several_devices_in_turn_are_not_mixed() {
    let line = |i: usize, device: &str| {
        let [a, b, _] = values(i);
        format!("{},{device},{a},{b}", at(i, ISO, "UTC"))
    };
    let body: Vec<String> = (0..ROWS)
        .flat_map(|i| [line(i, "north"), line(i, "south")])
        .collect();
    let read = read_text(&format!("time,device,temp,pres\n{}\n", body.join("\n")));
    assert_eq!(
        read.channels,
        ["north.temp", "north.pres", "south.temp", "south.pres"]
    );
    assert_eq!(read.rows.len(), ROWS);
    // With devices that are numbers as well.
    let read = read_text(&format!(
        "time,device_id,temp,pres\n{}\n",
        body.join("\n").replace("north", "1").replace("south", "2")
    ));
    assert_eq!(read.channels, ["1.temp", "1.pres", "2.temp", "2.pres"]);
}

#[test]
fn a_history_with_a_time_a_reading_makes_rows_of_the_readings_near_each_other() {
    let text = long("entity_id,state,last_changed", |i, name, x| {
        let late = NAMES.iter().position(|n| *n == name).unwrap() as i64 * 137;
        let ms = START_MS + STEP_MS * i as i64 + late;
        let stamp = jiff::Timestamp::from_millisecond(ms).unwrap();
        format!("sensor.{name},{x},{stamp}")
    });
    let text = text
        + "binary_sensor.door,on,2026-03-01T00:10:00.500Z\nsensor.hum,unavailable,2026-03-02T02:00:00Z\n";
    let read = read_text(&text);
    assert_eq!(read.channels, ["sensor.temp", "sensor.pres", "sensor.hum"]);
    assert_eq!(read.ignored, ["binary_sensor.door"]);
    assert_eq!(read.rows.len(), ROWS + 1, "{}", read.found);
    assert_eq!(read.rows[7].1, values(7));
}

#[test]
fn influx_tables_below_each_other_are_columns_of_one_table() {
    let annotations = "#group,false,false,true,true,false,false,true,true\n\
        #datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string\n\
        #default,_result,,,,,,,\n";
    let header = ",result,table,_start,_stop,_time,_value,_field,_measurement\n";
    let stamp = |i: usize| at(i, "%Y-%m-%dT%H:%M:%SZ", "UTC");
    let table = |place: usize| -> String {
        let line = |i: usize| {
            format!(
                ",,{place},2026-03-01T00:00:00Z,2026-03-02T00:00:00Z,{},{},{},air\r\n",
                stamp(i),
                values(i)[place],
                NAMES[place]
            )
        };
        (0..ROWS).map(line).collect()
    };
    let tables = [table(0), table(1), table(2)];
    let one = format!("{annotations}{header}{}", tables.concat());
    let blocks: String = tables
        .iter()
        .map(|table| format!("{annotations}{header}{table}\r\n"))
        .collect();
    let plain = format!("{header}{}", tables.concat());
    for text in [one, blocks, plain] {
        check(&read_text(&text), NAMES);
    }
}

#[test]
fn a_text_column_beside_channels_is_no_name_where_times_do_not_repeat() {
    let body: Vec<String> = lines(ISO, ",", ".")
        .iter()
        .enumerate()
        .map(|(i, line)| format!("{line},{}", if i % 50 < 40 { "run" } else { "idle" }))
        .collect();
    let text = format!("time,temp,pres,hum,mode\n{}\n", body.join("\n"));
    let read = read_text(&text);
    assert_eq!(read.ignored, ["mode"]);
    check(&read, NAMES);
    assert_eq!(read.texts, [("mode".to_owned(), 2)]);
}
