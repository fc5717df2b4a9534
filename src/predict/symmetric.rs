//! Symmetric matrices of f32 in half the memory, for covariances that are updated a row of data at a time.
//!
//! Kept is the lower block triangle: rows in panels of [`LANES`], each with the columns up to and with the
//! block on the diagonal. An entry of a block below the diagonal stands for two, so that the matrix is
//! symmetric to the bit whatever is done to it, and exponential forgetting finds no asymmetry to amplify.
//! Products run over the columns in lanes of fixed order: the bits do not depend on the machine.

use multiversion::multiversion;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Rows of a panel, and numbers that are added side by side.
const LANES: usize = 8;

/// A symmetric matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SymmetricMatrix {
    order: usize,
    /// Panel p: rows p [`LANES`] and up, columns 0 to (p + 1) [`LANES`]. Entries beyond the order are 0.
    panels: Vec<Array2<f32>>,
}

impl SymmetricMatrix {
    /// The matrix with `value` on its diagonal and 0 elsewhere.
    pub fn diagonal_of(order: usize, value: f32) -> SymmetricMatrix {
        let mut matrix = SymmetricMatrix::default();
        matrix.grow(order, value);
        matrix
    }

    /// Number of rows.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Adds rows and columns of 0 with `value` on the diagonal.
    pub fn grow(&mut self, rows: usize, value: f32) {
        let old = self.order;
        self.order += rows;
        let panels = self.panels.len()..self.order.div_ceil(LANES);
        self.panels
            .extend(panels.map(|p| Array2::zeros((LANES, (p + 1) * LANES))));
        for i in old..self.order {
            self.panels[i / LANES][(i % LANES, i)] = value;
        }
    }

    /// The entries of the diagonal.
    pub fn diagonal(&self) -> impl Iterator<Item = f32> + '_ {
        let panels = self.panels.iter().enumerate();
        panels.flat_map(|(p, panel)| {
            let (first, rows) = (p * LANES, LANES.min(self.order - p * LANES));
            let entries = panel.as_slice().expect("row by row");
            let diagonal = entries[first..].iter().step_by(first + LANES + 1);
            diagonal.take(rows).copied()
        })
    }

    /// The sum of the diagonal.
    pub fn trace(&self) -> f32 {
        self.diagonal().sum()
    }

    /// Every entry of the diagonal is finite and above 0.
    pub fn has_positive_diagonal(&self) -> bool {
        self.diagonal()
            .fold(true, |sound, m| sound & (m > 0.0) & (m < f32::INFINITY))
    }

    /// Writes the product with the vector `x` to `out`.
    ///
    /// # Panics
    /// If `x` has not one entry a row.
    pub fn times(&self, x: &[f32], out: &mut Vec<f32>) {
        assert_eq!(x.len(), self.order, "one entry a row");
        out.clear();
        out.resize(self.panels.len() * LANES, 0.0);
        for (p, panel) in self.panels.iter().enumerate() {
            let entries = panel.as_slice().expect("row by row");
            times_panel(entries, &x[..x.len().min((p + 1) * LANES)], p * LANES, out);
        }
        out.truncate(self.order);
    }

    /// Replaces the matrix M by `keep` M - h h' + `add` I.
    ///
    /// # Panics
    /// If `h` has not one entry a row.
    pub fn downdate(&mut self, h: &[f32], keep: f32, add: f32) {
        assert_eq!(h.len(), self.order, "one entry a row");
        for (p, panel) in self.panels.iter_mut().enumerate() {
            let (first, width) = (p * LANES, panel.ncols());
            let entries = panel.as_slice_mut().expect("row by row");
            let h = &h[..h.len().min(width)];
            downdate_panel(entries, width, h, &h[first..], keep);
            (first..h.len()).for_each(|i| entries[(i - first) * width + i] += add);
        }
    }

    /// Replaces the matrix M by `factor` M + `add` I.
    pub fn scale(&mut self, factor: f32, add: f32) {
        let entries = self.panels.iter_mut().flatten();
        entries.for_each(|m| *m *= factor);
        (0..self.order).for_each(|i| self.panels[i / LANES][(i % LANES, i)] += add);
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let panels = self.panels.iter();
        panels
            .map(|p| p.len() * size_of::<f32>() + size_of::<Array2<f32>>())
            .sum()
    }

    /// The entry of a row and a column.
    #[cfg(test)]
    pub fn get(&self, row: usize, column: usize) -> f32 {
        let (row, column) = (row.max(column), row.min(column));
        self.panels[row / LANES][(row % LANES, column)]
    }
}

/// Adds the part of a product that the panel whose first row is `first` has in it, from both sides of the
/// diagonal, to `out`. `x`: entries up to the panel's last row.
#[multiversion(targets("x86_64+avx2+fma"))]
fn times_panel(entries: &[f32], x: &[f32], first: usize, out: &mut [f32]) {
    let width = first + LANES;
    let (above, own) = out.split_at_mut(first);
    let (above, _) = above.as_chunks_mut::<LANES>();
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    for (r, row) in entries.chunks_exact(width).enumerate() {
        let (row, _) = row.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (row, x) in row.iter().zip(x_blocks) {
            add_product(row, x, &mut sums);
        }
        if let Some(row) = row.get(x_blocks.len()) {
            for ((s, &m), &x) in sums.iter_mut().zip(row).zip(x_rest) {
                *s = m.mul_add(x, *s);
            }
        }
        own[r] += sums.iter().sum::<f32>();
        if let Some(&scale) = x.get(first + r).filter(|&&x| x != 0.0) {
            for (row, to) in row.iter().zip(above.iter_mut()) {
                add_product(row, &[scale; LANES], to);
            }
        }
    }
}

#[inline(always)]
fn add_product(a: &[f32; LANES], b: &[f32; LANES], to: &mut [f32; LANES]) {
    for lane in 0..LANES {
        to[lane] = a[lane].mul_add(b[lane], to[lane]);
    }
}

/// The product of two vectors of one length.
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        add_product(a, b, &mut sums);
    }
    for ((s, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *s = a.mul_add(b, *s);
    }
    sums.iter().sum()
}

/// Adds `by` times the vector `from` to the vector `to`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn add_scaled(to: &mut [f32], from: &[f32], by: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.mul_add(by, *to);
    }
}

/// Replaces each entry m of a panel by `keep` m - `h`(row) `h`(column). `own`: the rows' entries of `h`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn downdate_panel(entries: &mut [f32], width: usize, h: &[f32], own: &[f32], keep: f32) {
    for (row, &hi) in entries.chunks_exact_mut(width).zip(own) {
        for (m, &hj) in row.iter_mut().zip(h) {
            *m = *m * keep - hi * hj;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    fn vector(n: usize, t: u32) -> Vec<f32> {
        let key = counter::row_key(11, t);
        (0..n as u32).map(|i| counter::bell(key, i)).collect()
    }

    /// The same operations on a matrix that is kept whole, in f64.
    fn dense(n: usize) -> (Array2<f64>, SymmetricMatrix) {
        let mut whole = Array2::from_diag_elem(n, 2.0);
        let mut matrix = SymmetricMatrix::diagonal_of(n, 2.0);
        for t in 0..5 {
            let h: Vec<f32> = vector(n, t).iter().map(|h| 0.2 * h).collect();
            for ((i, j), m) in whole.indexed_iter_mut() {
                let add = if i == j { 0.125 } else { 0.0 };
                *m = *m * 0.75 - f64::from(h[i]) * f64::from(h[j]) + add;
            }
            matrix.downdate(&h, 0.75, 0.125);
        }
        (whole, matrix)
    }

    #[test]
    fn it_is_the_whole_matrix_at_every_order_and_for_sparse_vectors() {
        for n in [1, 2, 7, 8, 9, 16, 21, 40] {
            let (whole, matrix) = dense(n);
            for ((i, j), &m) in whole.indexed_iter() {
                assert!(
                    (m - f64::from(matrix.get(i, j))).abs() < 1e-5,
                    "{n} {i} {j}"
                );
            }
            for every in [1, 3] {
                let mut x = vector(n, 77);
                let silent = (0..n).filter(|i| i % every != 0);
                silent.for_each(|i| x[i] = 0.0);
                let mut out = Vec::new();
                matrix.times(&x, &mut out);
                let x = x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                for (row, out) in whole.rows().into_iter().zip(&out) {
                    let product: f64 = row.iter().zip(&x).map(|(m, x)| m * x).sum();
                    assert!((product - f64::from(*out)).abs() < 1e-4, "{n} {every}");
                }
            }
        }
    }

    #[test]
    fn growing_keeps_what_it_holds() {
        let (_, matrix) = dense(11);
        let mut grown = matrix.clone();
        grown.grow(9, 3.0);
        for (i, j) in (0..20).flat_map(|i| (0..20).map(move |j| (i, j))) {
            let expected = match (i, j) {
                (0..11, 0..11) => matrix.get(i, j),
                _ if i == j => 3.0,
                _ => 0.0,
            };
            assert_eq!(grown.get(i, j), expected);
        }
        let mut scaled = grown.clone();
        scaled.scale(0.5, 1.0);
        assert_eq!(scaled.get(15, 15), 2.5);
        assert_eq!(scaled.get(3, 2), 0.5 * grown.get(3, 2));
    }

    #[test]
    fn it_holds_about_half_of_the_whole() {
        let whole = 128 * 128 * size_of::<f32>();
        let bytes = SymmetricMatrix::diagonal_of(128, 1.0).bytes();
        assert!(bytes < whole * 6 / 10, "{bytes} {whole}");
    }
}
