//! Numbers that loggers and gateways write where a value is missing.

/// Fewest nines that a mark consists of: -99 is a temperature as often as it is a mark.
const FEWEST_NINES: usize = 3;
/// Lowest number of a register of 16 bits, also in tenths and hundredths: gateways send it where a
/// device does not answer.
const OF_REGISTERS: [f64; 3] = [-32_768.0, -3_276.8, -327.68];

/// The number is one that stands for a missing value by custom: negative and of nines alone, three or
/// more before the point (-999, -999.9, -9999.99), or the lowest of a register.
pub fn is_missing_mark(x: f64) -> bool {
    if x > -300.0 {
        return false;
    }
    if OF_REGISTERS.contains(&x) {
        return true;
    }
    let text = x.to_string();
    let digits = text.trim_start_matches('-');
    let whole = digits.split('.').next().unwrap_or_default();
    whole.len() >= FEWEST_NINES && digits.bytes().all(|byte| matches!(byte, b'9' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_and_the_lowest_of_a_register_are_marks() {
        for x in [-999.0, -999.9, -9999.0, -99_999.99, -32_768.0, -3276.8] {
            assert!(is_missing_mark(x), "{x}");
        }
        for x in [
            999.9,
            -99.9,
            -9.999,
            -998.0,
            -990.0,
            -32_767.0,
            f64::NAN,
            -1e30,
        ] {
            assert!(!is_missing_mark(x), "{x}");
        }
    }
}
