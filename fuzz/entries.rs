//! One function a parser that reads bytes of strangers: none may panic, or take longer than 10 ms.
//!
//! The fuzz targets and the seeded test drive the same functions.

use std::cell::RefCell;

use spiked::config::Settings;
use spiked::decode::{Decoder, InboundMessage};
use spiked::payload::{self, Format, Parsed, Pointer, TimeUnit};
use spiked::replay::Messages;
use spiked::route::Pattern;
use spiked::row::{Instruction, Row};
use spiked::table::{
    Decimal, Header, LayoutOptions, Separator, TableOptions, TableShape, WideTable,
};

/// A parser and inputs from which others are made.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Reads one input.
    pub run: fn(&[u8]),
    /// Inputs that it reads.
    pub seeds: &'static [&'static [u8]],
}

/// Every parser.
pub const ALL: [Entry; 7] = [
    Entry {
        name: "payload",
        run: payload,
        seeds: &[
            b"1.5e3",
            b"-1e308",
            b"{\"value\":1.5,\"ts\":1700000000000}",
            b"{\"a\":[{\"b\":1e999}],\"ts\":\"2024-02-29T23:59:60.5+14:00\"}",
            b"{\"flow\":1,\"temp\":null,\"x\":\"y\",\"z\":[[[]]]}",
            b"{\"incident\":3,\"verdict\":\"new_normal\"}",
            b"[1,2,{\"ts\":-9223372036854775808,\"value\":true}]",
        ],
    },
    Entry {
        name: "message",
        run: message,
        seeds: &[
            b"plant/press/temp\n1.5",
            b"tele/hall/SENSOR\n{\"Time\":\"2026-03-01T00:00:00\",\"AM2301\":{\"Temperature\":20.5}}",
            b"gw/7/up\n{\"values\":[{\"id\":\"a\",\"v\":\"23.5 \xc2\xb0C\",\"t\":1772323200,\"q\":192}]}",
            b"spiked/main/press/feedback\n{\"incident\":1,\"verdict\":\"false\"}",
            b"telegraf/srv1/weather\nweather,location=hall1 temperature=82.1,humidity=71i,ok=t,note=\"a b\" 1772323199000000000",
            b"spBv1.0/plant1/NBIRTH/edge7\n\x08\x98\xb0\xc7\xb5\xca\x33\x12\x0b\x0a\x05\x62\x64\x53\x65\x71\x20\x08\x58\x00\x12\x1a\x0a\x14\x4e\x6f\x64\x65\x20\x43\x6f\x6e\x74\x72\x6f\x6c\x2f\x52\x65\x62\x69\x72\x74\x68\x20\x0b\x70\x00\x12\x1e\x0a\x08\x43\x50\x55\x2f\x4c\x6f\x61\x64\x10\x01\x18\x98\xb0\xc7\xb5\xca\x33\x20\x0a\x69\x00\x00\x00\x00\x00\x00\xe0\x3f\x12\x1b\x0a\x08\x46\x69\x72\x6d\x77\x61\x72\x65\x10\x02\x18\x98\xb0\xc7\xb5\xca\x33\x20\x0c\x7a\x04\x76\x31\x2e\x32\x18\x00",
            b"spBv1.0/plant1/DBIRTH/edge7/press\n\x08\x98\xb0\xc7\xb5\xca\x33\x12\x1d\x0a\x0b\x54\x65\x6d\x70\x65\x72\x61\x74\x75\x72\x65\x10\x0a\x18\x98\xb0\xc7\xb5\xca\x33\x20\x09\x65\x66\x66\xaa\x41\x12\x19\x0a\x06\x4f\x66\x66\x73\x65\x74\x10\x0b\x18\x98\xb0\xc7\xb5\xca\x33\x20\x03\x50\xfb\xff\xff\xff\x0f\x12\x16\x0a\x07\x52\x75\x6e\x6e\x69\x6e\x67\x10\x0c\x18\x98\xb0\xc7\xb5\xca\x33\x20\x0b\x70\x01\x18\x01",
            b"spBv1.0/plant1/DDATA/edge7/press\n\x08\x98\xb0\xc7\xb5\xca\x33\x12\x0e\x10\x0a\x18\x8c\xb4\xc7\xb5\xca\x33\x65\x33\x33\xab\x41\x12\x08\x10\x0b\x50\xfa\xff\xff\xff\x0f\x18\x02",
            b"senml/x\n[{\"bn\":\"urn:dev:1:\",\"bt\":1.772e9,\"n\":\"temp\",\"u\":\"Cel\",\"v\":23.1},{\"n\":\"hum\",\"v\":52}]",
        ],
    },
    Entry {
        name: "topic",
        run: topic,
        seeds: &[
            b"plant/{stream}/{channel}\nplant/press/temp",
            b"a/+/{stream}/{channel}/#\na//c/d/e/f",
            b"$share/g/{hall}/{rest#}\n$SYS/x/y",
        ],
    },
    Entry {
        name: "time",
        run: time,
        seeds: &[
            b"2026-03-01 00:00:00 UTC",
            b"2026-03-01T01:00:00.5+01:00[Europe/Berlin]",
            b"01/Mar/2026:10:00:00 +0100",
            b"Mar 1, 2026 12:00:00 AM",
            b"31.12.99 24:00",
            b"18.00.00",
            b"1772323200.450",
        ],
    },
    Entry {
        name: "table",
        run: table,
        seeds: &[
            b"time,a,b\n2026-03-01 00:00:00,1.5,2\n2026-03-01 00:00:01,\"2,5\",x\n",
            b"sep=;\nDatum;Uhrzeit;T [C]\n01.03.2026;0:00:00;1.234,5\n01.03.2026;24:00;2,5 kW\n",
            b"time,sensor,value\n1772323200,a,1\n1772323200,b,2\n1772323260,a,3\n1772323260,b,4\n",
            b"#group,false,false\n#datatype,string,long\n,result,table,_time,_value,_field\n,,0,2026-03-01T00:00:00Z,1,a\n",
            b"\"TOA5\",\"x\"\n\"TIMESTAMP\",\"RECORD\",\"a\"\n\"TS\",\"RN\",\"C\"\n\"2026-03-01 00:00:00\",0,\"NAN\"\n\"2026-03-01 00:01:00\",1,3\n",
            b"\xff\xfet\x00;\x00a\x00\n\x001\x00;\x002\x00\n\x00",
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
            b"1 2\n3 4\n5 6\n",
        ],
    },
    Entry {
        name: "recording",
        run: recording,
        seeds: &[
            b"1772323200.450 plant/old pump/flow 80.05",
            b"2026-03-01T00:00:00Z\t1\ta b/c\t1 2",
            b"{\"tst\":\"2026-11-26T06:37:12.354168Z+0000\",\"topic\":\"x\",\"qos\":0,\"retain\":1,\"payloadlen\":5,\"payload\":\"80.05\"}",
            b"{\"tst\":1772323200,\"topic\":\"x\",\"properties\":{\"user-properties\":{\"ts\":\"1\"}},\"payload\":{\"a\":1}}",
        ],
    },
    Entry {
        name: "config",
        run: config,
        seeds: &[
            b"[mqtt]\nurl = \"mqtt://127.0.0.1:1883\"\n[[input]]\ntopic = \"plant/{stream}/{channel}\"\n",
            b"[[input]]\ntopic = \"a/{hall}/#\"\neach = \"/v\"\nstream = \"{hall}\"\nchannel = \"{./id}\"\nvalue = \"./v\"\nts_unit = \"auto\"\n",
            b"[[channel]]\nname = \"mode\"\nkind = \"enum\"\nstates = [\"off\", \"on\"]\n[detect]\nfalse_alarms_per_week = 1.0\n",
        ],
    },
];

thread_local! {
    static DECODER: RefCell<Option<Decoder>> = const { RefCell::new(None) };
    static SETTINGS: Settings = settings();
}

/// Inputs of every kind.
const INPUTS: &str = concat!(
    include_str!("../config/inputs/influx.toml"),
    include_str!("../config/inputs/sparkplug.toml"),
    include_str!("../config/inputs/senml.toml"),
    r#"
[stream]
max_streams = 50
max_channels = 50
[[input]]
topic = "plant/{stream}/{channel}"
payload = "auto"
numbers = "lenient"
[[input]]
topic = "tele/{stream}/SENSOR"
payload = "object"
ts = "/Time"
timezone = "Europe/Berlin"
[[input]]
topic = "gw/{gateway}/up"
each = "/values"
stream = "{gateway}"
channel = "{./id}"
value = "./v"
ts = "./t"
quality = "./q"
numbers = "lenient"
"#
);

fn settings() -> Settings {
    spiked::config::from_text(INPUTS).expect("a good configuration")
}

/// A payload by each of the plain forms.
pub fn payload(data: &[u8]) {
    let pointer = |text: &str| Pointer::new(text).expect("a pointer");
    let formats = [
        Format::number(),
        Format::auto(pointer("/value"), pointer("/ts"), TimeUnit::Millis),
        Format::json(pointer("/a/0/b"), pointer("/ts"), TimeUnit::Seconds),
        Format::object(pointer(""), pointer("/ts"), TimeUnit::Nanos),
    ];
    let mut parsed = Parsed::default();
    for format in formats {
        if format.parse(data, &mut parsed).is_ok() {
            assert!(parsed.channels().all(|(_, value)| value.is_finite()));
        }
    }
    for topic in payload::InstructionTopic::ALL {
        let read = payload::parse_instruction(topic, "press", data, None);
        if let Ok(Instruction::Feedback(feedback)) = read {
            assert!(feedback.incident > 0);
        }
    }
}

/// A topic, a line break and a payload, by inputs that map.
pub fn message(data: &[u8]) {
    let (topic, payload) = halves(data);
    let topic = String::from_utf8_lossy(topic);
    let mut readings = Vec::new();
    DECODER.with_borrow_mut(|decoder| {
        let decoder = decoder.get_or_insert_with(|| SETTINGS.with(|s| s.decoder(0)));
        let message = InboundMessage {
            topic: &topic,
            payload,
            arrival_ms: 1_772_323_200_000,
            ..InboundMessage::default()
        };
        if let Err(reason) = decoder.read(message, &mut readings) {
            let _ = decoder.explain(reason, None, &message);
        }
        decoder.refused();
        decoder.remarks();
    });
    assert!(
        readings
            .iter()
            .all(|reading| reading.value.is_finite() || reading.value.is_nan())
    );
}

/// A pattern, a line break and a topic.
pub fn topic(data: &[u8]) {
    let (pattern, topic) = halves(data);
    let (pattern, topic) = (
        String::from_utf8_lossy(pattern),
        String::from_utf8_lossy(topic),
    );
    if let Ok(pattern) = Pattern::new(&pattern, "", "", false) {
        let _ = pattern.matches(&topic);
    }
}

/// A time stamp.
pub fn time(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(moment) = spiked::time::parse_moment(&text) {
        let _ = moment.utc_ms();
    }
    let _ = spiked::time::check_format(&text);
    let _ = spiked::time::parse_zone(&text);
    let rows = text.replace(['\n', '\r', ',', '"'], " ");
    table(format!("time,a\n{rows},1\n{rows},2\n").as_bytes());
}

/// A table, as it is found and by options that override everything.
pub fn table(data: &[u8]) {
    read_table(data, &TableOptions::default());
    let options = TableOptions {
        layout: LayoutOptions {
            separator: Some(Separator::Byte(b',')),
            header: Header::Line(1),
            decimal: Some(Decimal::Comma),
            ..LayoutOptions::default()
        },
        shape: TableShape::Long {
            names: vec!["sensor".into()],
            value: "value".into(),
        },
        ..TableOptions::default()
    };
    read_table(data, &options);
}

fn read_table(data: &[u8], options: &TableOptions) {
    let Ok(mut table) = WideTable::of(data, options) else {
        return;
    };
    let mut row = Row {
        ts_ms: 0,
        arrival_ms: 0,
        values: vec![0.0; table.channels().len()],
        held: Vec::new(),
    };
    while let Ok(true) = table.read(&mut row) {
        assert!(
            row.values
                .iter()
                .all(|value| value.is_finite() || value.is_nan())
        );
    }
}

/// Lines of recorded messages, none of which an input takes: only the lines are read.
pub fn recording(data: &[u8]) {
    SETTINGS.with(|settings| {
        let mut decoder = settings.decoder(0);
        decoder.router = spiked::route::Router::new(Vec::new(), "own", 1, 1, Vec::new());
        let mut messages = Messages::new(settings.stream_params(), decoder);
        let _ = messages.run(data, None, |_| {});
    });
}

/// A configuration file.
pub fn config(data: &[u8]) {
    let _ = spiked::config::from_text(&String::from_utf8_lossy(data));
}

/// Splits at the first line break.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}
