//! Sparkplug B payloads (Eclipse Sparkplug 3.0.0, chapter 6): metrics with names, aliases and values.
//!
//! Only the fields that readings need are declared; protobuf skips all others. Datasets, templates,
//! bytes and arrays are metrics without a value here.

use prost::Message;

use super::Reject;

/// A payload, as far as readings need it.
#[derive(Clone, PartialEq, Message)]
struct SparkplugPayload {
    #[prost(uint64, optional, tag = "1")]
    timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<RawMetric>,
    #[prost(uint64, optional, tag = "3")]
    seq: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct RawMetric {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    is_historical: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    is_null: Option<bool>,
    #[prost(oneof = "RawValue", tags = "10, 11, 12, 13, 14, 15")]
    value: Option<RawValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum RawValue {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    String(String),
}

/// Data types whose integers are signed, and their bits (chapter 6.4.16).
const SIGNED: [(u32, u32); 4] = [(1, 8), (2, 16), (3, 32), (4, 64)];
/// Data type of a truth value.
const BOOLEAN: u32 = 11;

/// A metric's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number or a truth value.
    Number(f64),
    /// A text.
    Text(String),
    /// Null, or a kind that is no measurement (dataset, template, bytes, array).
    None,
}

/// A metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name; births have it, data may leave it out.
    pub name: Option<String>,
    /// Its alias; data may name it by this alone.
    pub alias: Option<u64>,
    /// Its data type, where it is given.
    pub datatype: Option<u32>,
    /// Its own timestamp, unix milliseconds.
    pub ts_ms: Option<i64>,
    raw: Option<RawValue>,
}

/// A payload.
#[derive(Clone, Debug, PartialEq)]
pub struct SparkplugMetrics {
    /// Sequence number, 0 to 255.
    pub seq: Option<u64>,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

impl Metric {
    /// The value, its integer taken as `datatype` says: integers travel unsigned.
    #[expect(clippy::cast_precision_loss, reason = "measurements are f64")]
    pub fn value(&self, datatype: Option<u32>) -> Value {
        let bits = SIGNED.iter().find(|(kind, _)| Some(*kind) == datatype);
        let signed = |n: u64| match bits {
            Some((_, bits)) => {
                let shift = 64 - bits;
                (((n << shift) as i64) >> shift) as f64
            }
            None => n as f64,
        };
        match &self.raw {
            Some(RawValue::Int(n)) => Value::Number(signed(u64::from(*n))),
            Some(RawValue::Long(n)) => Value::Number(signed(*n)),
            Some(RawValue::Float(x)) => Value::Number(shortest(*x)),
            Some(RawValue::Double(x)) => Value::Number(*x),
            Some(RawValue::Boolean(x)) => Value::Number(f64::from(u8::from(*x))),
            Some(RawValue::String(text)) => Value::Text(text.clone()),
            None => Value::None,
        }
    }
}

/// The double that is written like a float: 21.3, not 21.299999237060547.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Reads a payload.
///
/// # Errors
/// [`Reject::Malformed`] if it is no Sparkplug B payload.
pub fn parse_sparkplug(payload: &[u8]) -> Result<SparkplugMetrics, Reject> {
    let payload = SparkplugPayload::decode(payload).map_err(|_| Reject::Malformed)?;
    let common = payload.timestamp;
    let ms = |own: Option<u64>| own.or(common).and_then(|ms| i64::try_from(ms).ok());
    let metrics = payload.metrics.into_iter().map(|metric| Metric {
        ts_ms: ms(metric.timestamp),
        raw: match metric.is_null {
            Some(true) => None,
            _ => metric.value,
        },
        name: metric.name,
        alias: metric.alias,
        datatype: metric.datatype,
    });
    Ok(SparkplugMetrics {
        seq: payload.seq,
        metrics: metrics.collect(),
    })
}

/// The command that asks an edge node for its births (chapter 5.9).
pub fn rebirth_request(now_ms: i64) -> Vec<u8> {
    let rebirth = RawMetric {
        name: Some("Node Control/Rebirth".to_owned()),
        datatype: Some(BOOLEAN),
        value: Some(RawValue::Boolean(true)),
        ..RawMetric::default()
    };
    let payload = SparkplugPayload {
        timestamp: u64::try_from(now_ms).ok(),
        metrics: vec![rebirth],
        seq: None,
    };
    payload.encode_to_vec()
}

/// Writes a payload of numbers, as an edge node does: for samples and tests.
pub fn encode_sparkplug(
    ts_ms: u64,
    seq: Option<u64>,
    metrics: &[(Option<&str>, Option<u64>, f64)],
) -> Vec<u8> {
    let metrics = metrics.iter().map(|(name, alias, value)| RawMetric {
        name: name.map(str::to_owned),
        alias: *alias,
        datatype: name.map(|_| 10),
        value: Some(RawValue::Double(*value)),
        ..RawMetric::default()
    });
    let payload = SparkplugPayload {
        timestamp: Some(ts_ms),
        metrics: metrics.collect(),
        seq,
    };
    payload.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_signed_by_their_type_and_floats_have_their_own_digits() {
        let metric = |raw| Metric {
            name: None,
            alias: None,
            datatype: None,
            ts_ms: None,
            raw: Some(raw),
        };
        for (raw, datatype, value) in [
            (RawValue::Int(0xffff_fffe), Some(3), -2.0),
            (RawValue::Int(0xfe), Some(1), -2.0),
            (RawValue::Int(0xfe), Some(5), 254.0),
            (RawValue::Long(u64::MAX), Some(4), -1.0),
            (RawValue::Float(21.3), Some(9), 21.3),
            (RawValue::Boolean(true), Some(11), 1.0),
        ] {
            assert_eq!(metric(raw).value(datatype), Value::Number(value));
        }
    }

    #[test]
    fn a_payload_comes_back_with_its_times_and_anything_else_is_refused() {
        let bytes = encode_sparkplug(1000, Some(3), &[(Some("a"), Some(1), 2.5)]);
        let read = parse_sparkplug(&bytes).unwrap();
        assert_eq!(read.seq, Some(3));
        assert_eq!(read.metrics[0].ts_ms, Some(1000));
        assert_eq!(read.metrics[0].value(Some(10)), Value::Number(2.5));
        assert_eq!(parse_sparkplug(b"21.5"), Err(Reject::Malformed));
        let request = parse_sparkplug(&rebirth_request(1)).unwrap();
        assert_eq!(
            request.metrics[0].name.as_deref(),
            Some("Node Control/Rebirth")
        );
    }
}
