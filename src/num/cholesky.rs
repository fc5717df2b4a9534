//! Symmetric positive definite systems, small and dense, in f64.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// The lower factor L of A = L L', row after row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Factors the `n` by `n` matrix whose lower triangle is in `a` (row after row, `n * n` values;
    /// what is above the diagonal is not looked at). `None` where it is not positive definite or
    /// not finite.
    ///
    /// # Panics
    /// If `a` has not `n * n` values.
    pub fn new(n: usize, mut a: Vec<f64>) -> Option<Cholesky> {
        assert_eq!(a.len(), n * n, "a square matrix");
        factor(n, &mut a).then_some(Cholesky { n, lower: a })
    }

    /// Turns `b` into L^-1 b: the squares of the result add up to b' A^-1 b.
    ///
    /// # Panics
    /// If `b` has not `n` values.
    pub fn forward(&self, b: &mut [f64]) {
        assert_eq!(b.len(), self.n, "one value a row");
        forward(self.n, &self.lower, b);
    }

    /// Turns `b` into A^-1 b.
    ///
    /// # Panics
    /// As [`Cholesky::forward`].
    pub fn solve(&self, b: &mut [f64]) {
        solve(self.n, &self.lower, b);
    }
}

/// Turns the lower triangle of `a` into the factor L; false where it has none.
fn factor(n: usize, a: &mut [f64]) -> bool {
    for i in 0..n {
        for j in 0..=i {
            let (upper, rest) = a.split_at_mut(i * n);
            let row = &mut rest[..n];
            let dot = |other: &[f64], row: &[f64]| -> f64 {
                other[..j].iter().zip(&row[..j]).map(|(x, y)| x * y).sum()
            };
            if i == j {
                let square = row[i] - dot(row, row);
                if !(square > 0.0 && square.is_finite()) {
                    return false;
                }
                row[i] = square.sqrt();
            } else {
                let other = &upper[j * n..(j + 1) * n];
                row[j] = (row[j] - dot(other, row)) / other[j];
            }
        }
    }
    true
}

/// Turns `b` into L^-1 b.
fn forward(n: usize, lower: &[f64], b: &mut [f64]) {
    for i in 0..n {
        let row = &lower[i * n..];
        let sum: f64 = row[..i].iter().zip(&*b).map(|(l, x)| l * x).sum();
        b[i] = (b[i] - sum) / row[i];
    }
}

/// Turns `b` into A^-1 b.
fn solve(n: usize, lower: &[f64], b: &mut [f64]) {
    forward(n, lower, b);
    for i in (0..n).rev() {
        b[i] /= lower[i * n + i];
        let (head, tail) = b.split_at_mut(i);
        let row = &lower[i * n..];
        head.iter_mut()
            .zip(row)
            .for_each(|(x, l)| *x -= l * tail[0]);
    }
}

/// Fills `inverse` with the inverse of the symmetric positive definite matrix `a`, which is lost;
/// false where it is not positive definite or not finite. Allocates only where `inverse` has
/// another size.
pub fn invert(a: &mut Array2<f64>, inverse: &mut Array2<f64>) -> bool {
    let n = a.nrows();
    if inverse.dim() != a.dim() {
        *inverse = Array2::zeros(a.dim());
    }
    let (Some(a), Some(inverse)) = (a.as_slice_mut(), inverse.as_slice_mut()) else {
        return false;
    };
    if !factor(n, a) {
        return false;
    }
    inverse.fill(0.0);
    // Symmetric: its rows are its columns.
    for (i, row) in inverse.chunks_exact_mut(n.max(1)).enumerate() {
        row[i] = 1.0;
        solve(n, a, row);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    #[test]
    fn it_solves_what_it_was_given() {
        let n = 7;
        let root = |i: usize, j: usize| f64::from(counter::bell(i as u32, j as u32));
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                let dot: f64 = (0..n).map(|k| root(i, k) * root(j, k)).sum();
                a[i * n + j] = dot + f64::from(u8::from(i == j));
            }
        }
        let want: Vec<f64> = (0..n).map(|i| root(i, 99)).collect();
        let b: Vec<f64> = a
            .chunks(n)
            .map(|row| row.iter().zip(&want).map(|(a, x)| a * x).sum())
            .collect();
        let factor = Cholesky::new(n, a).unwrap();
        let mut got = b.clone();
        factor.solve(&mut got);
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        let mut half = b.clone();
        factor.forward(&mut half);
        let square: f64 = half.iter().map(|x| x * x).sum();
        let direct: f64 = b.iter().zip(&want).map(|(b, x)| b * x).sum();
        assert!((square - direct).abs() < 1e-11 * direct);
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert_eq!(Cholesky::new(2, vec![1.0, 0.0, 2.0, 1.0]), None);
        assert_eq!(Cholesky::new(1, vec![f64::NAN]), None);
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        let a = ndarray::arr2(&[[4.0, 1.0, 0.5], [1.0, 3.0, -0.2], [0.5, -0.2, 2.0]]);
        let mut inverse = Array2::zeros((3, 3));
        assert!(invert(&mut a.clone(), &mut inverse));
        let product = a.dot(&inverse);
        let off = (&product - &Array2::<f64>::eye(3)).mapv(f64::abs);
        assert!(off.iter().all(|&x| x < 1e-12), "{product}");
        let mut indefinite = ndarray::arr2(&[[1.0, 2.0], [2.0, 1.0]]);
        assert!(!invert(&mut indefinite, &mut inverse));
    }
}
