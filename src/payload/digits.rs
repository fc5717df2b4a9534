//! Rounds predictions to the digits that carry something: the sensor's own and two more.

/// Decimals tried of a sensor's value; one with more is printed in full.
const MAX_DECIMALS: i32 = 9;

/// Decimals for the mean and the standard deviation of a channel: two more than its value has, and
/// at least so many that the standard deviation has three significant digits. `None` for all.
pub(super) fn decimals(value: f64, sd: f64) -> Option<i32> {
    let of_value = match value.is_finite() {
        true => decimals_of(value)? + 2,
        false => 0,
    };
    let of_sd = match sd {
        // Certain: every digit counts.
        0.0 => return None,
        _ if sd.is_finite() => 2 - sd.log10().floor() as i32,
        _ => 0,
    };
    Some(of_value.max(of_sd))
}

/// Decimals that a value is written with.
fn decimals_of(value: f64) -> Option<i32> {
    (0..=MAX_DECIMALS).find(|d| rounded(value, Some(*d)) == value)
}

/// `x` with so many decimals.
pub(super) fn rounded(x: f64, decimals: Option<i32>) -> f64 {
    let Some(decimals) = decimals.filter(|d| (0..=15).contains(d)) else {
        return x;
    };
    let scale = 10f64.powi(decimals);
    let scaled = x * scale;
    // Beyond 2^53 every double is whole, and nothing is to be rounded.
    match scaled.abs() < 9e15 {
        true => scaled.round() / scale,
        false => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_has_two_digits_more_than_its_sensor_or_those_of_its_uncertainty() {
        for (value, sd, x, text) in [
            (21.5, 0.4, 21.512_345_678, "21.512"),
            (21.0, 0.4, 21.512_345_678, "21.512"),
            (100.0, 20.0, 101.234_567, "101.23"),
            (21.5, 0.000_4, 21.512_345_678, "21.512346"),
            (f64::NAN, 3.0, 21.512_345_678, "21.51"),
            (0.1 + 0.2, 1.0, 21.512_345_678, "21.512345678"),
            (1e-20, 1e-22, 1.5e-20, "0.000000000000000000015"),
        ] {
            assert_eq!(rounded(x, decimals(value, sd)).to_string(), text);
        }
    }
}
