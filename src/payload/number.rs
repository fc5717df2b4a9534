//! A plain decimal number.

use super::{Reject, believable};

/// Reads a decimal number; `text` is trimmed and not empty.
pub(super) fn parse(text: &str) -> Result<f64, Reject> {
    let value: f64 = text.parse().map_err(|_| Reject::Malformed)?;
    believable(value)
}

#[cfg(test)]
mod tests {
    use crate::payload::{Format, Parsed, Reject};

    fn parse(payload: &[u8]) -> Result<f64, Reject> {
        let mut parsed = Parsed::default();
        Format::Number.parse(payload, &mut parsed)?;
        Ok(parsed.value.unwrap())
    }

    #[test]
    fn numbers_are_read_with_blanks_around_them() {
        assert_eq!(parse(b"21.5"), Ok(21.5));
        assert_eq!(parse(b" -3e2\r\n"), Ok(-300.0));
        assert_eq!(parse(b"0"), Ok(0.0));
    }

    #[test]
    fn what_is_no_usable_number_is_refused_for_its_own_reason() {
        assert_eq!(parse(b""), Err(Reject::Empty));
        assert_eq!(parse(b" \t"), Err(Reject::Empty));
        assert_eq!(parse(b"\xff\xfe"), Err(Reject::NotUtf8));
        assert_eq!(parse(b"warm"), Err(Reject::Malformed));
        assert_eq!(parse(b"12,5"), Err(Reject::Malformed));
        for text in ["NaN", "nan", "inf", "-Infinity", "1e999"] {
            assert_eq!(parse(text.as_bytes()), Err(Reject::NotFinite), "{text}");
        }
        assert_eq!(parse(b"1e308"), Err(Reject::OutOfRange));
    }
}
