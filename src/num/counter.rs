//! Random numbers by counter: the value at a place depends on the seed and the place alone.
//!
//! The prior means of a network need no storage and do not depend on the order in which the
//! network grew. The mixing steps are the finaliser of MurmurHash3 (Appleby, public domain).

/// Mixes 32 bits; a bijection, so equal outputs mean equal inputs.
#[inline(always)]
pub fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

/// The key of one table of random numbers, from a seed and the table's number.
pub fn key(seed: u64, table: u32) -> u32 {
    let low = (seed & 0xffff_ffff) as u32;
    let high = (seed >> 32) as u32;
    mix(mix(mix(low ^ 0x9e37_79b9) ^ high) ^ table.wrapping_mul(0x85eb_ca77))
}

/// The key of one row of a table.
#[inline(always)]
pub fn row_key(key: u32, row: u32) -> u32 {
    mix(key ^ row.wrapping_mul(0x9e37_79b1).wrapping_add(0x27d4_eb2f))
}

/// A bell-shaped draw of mean 0 and variance 1 for column `lane` of a row: the standardised sum of
/// four bytes, within [-3.45, 3.45].
#[inline(always)]
pub fn bell(row_key: u32, lane: u32) -> f32 {
    let x = mix(row_key.wrapping_add(lane.wrapping_mul(0x9e37_79b1)));
    let pairs = (x & 0x00ff_00ff) + ((x >> 8) & 0x00ff_00ff);
    let sum = (pairs & 0xffff) + (pairs >> 16);
    // Four bytes, each uniform on 0..=255: mean 510, variance 4 (256^2 - 1) / 12 = 21845.
    (sum as i32 - 510) as f32 * 0.006_765_875_3
}

/// A uniform draw on (0, 1) for column `lane` of a row, in steps of 2^-24.
pub fn uniform(row_key: u32, lane: u32) -> f64 {
    let x = mix(row_key.wrapping_add(lane.wrapping_mul(0x9e37_79b1)));
    (f64::from(x >> 8) + 0.5) / f64::from(1u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_mean_zero_and_variance_one() {
        let (mut sum, mut square, n) = (0.0, 0.0, 200_000u32);
        for i in 0..n {
            let x = f64::from(bell(row_key(key(7, 1), i / 100), i % 100));
            sum += x;
            square += x * x;
        }
        let mean = sum / f64::from(n);
        assert!(mean.abs() < 0.01, "mean {mean}");
        let variance = square / f64::from(n) - mean * mean;
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn neighbouring_rows_lanes_and_seeds_are_uncorrelated() {
        let n = 50_000u32;
        let draw = |seed: u64, i: u32, j: u32| f64::from(bell(row_key(key(seed, 0), i), j));
        for (seed, row, lane) in [(1, 0, 1), (1, 1, 0), (2, 0, 0)] {
            let mut sum = 0.0;
            for i in 0..n {
                sum += draw(1, i / 64, i % 64) * draw(seed, i / 64 + row, i % 64 + lane);
            }
            let correlation = sum / f64::from(n);
            assert!(
                correlation.abs() < 0.02,
                "{correlation} at {seed} {row} {lane}"
            );
        }
    }
}
