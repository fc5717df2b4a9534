//! Local receptive fields: an image becomes spikes of oriented edges, pooled over windows.
//!
//! As in simple and complex cells (Hubel and Wiesel, 1962) and in histograms of oriented gradients
//! (Dalal and Triggs, 2005): every pixel has a gradient, shared out between the two nearest of 8
//! directions; a unit sums one direction over a window of 6 by 6 pixels, every 3 pixels; it spikes
//! once for each of three levels that its sum passes. Nothing is learned, and contrast does not
//! matter: levels are relative to the largest gradient of the image.

use super::Spikes;

/// Directions of an edge from dark to bright, over a full turn.
const DIRECTIONS: usize = 8;

/// Side of a window in pixels, and pixels from one window to the next.
const WINDOW: usize = 6;
const STRIDE: usize = 3;

/// Levels of a unit: sums over a window, in units of the largest gradient of the image. One pixel
/// of a strong edge that is half in another direction, a corner, an edge through the window.
/// Tried against two levels and windows of 5 pixels on the last 10,000 of MNIST's training images.
const LEVELS: [f32; 3] = [0.5, 2.0, 5.0];

/// Encodes images of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceptiveFields {
    width: usize,
    height: usize,
    columns: usize,
    rows: usize,
    /// Sums of every window and direction in the present image.
    sums: Vec<f32>,
}

/// Windows along a side: the last reaches the edge or beyond.
fn windows(side: usize) -> usize {
    side.saturating_sub(WINDOW).div_ceil(STRIDE) + 1
}

/// Windows along a side that hold a pixel, of `n`.
fn holding(at: usize, n: usize) -> std::ops::Range<usize> {
    (at + 1).saturating_sub(WINDOW).div_ceil(STRIDE)..(at / STRIDE + 1).min(n)
}

impl ReceptiveFields {
    /// For images of `width` by `height` pixels.
    ///
    /// # Panics
    /// If a side is 0.
    pub fn new(width: usize, height: usize) -> ReceptiveFields {
        assert!(width > 0 && height > 0, "{width} by {height} pixels");
        let (columns, rows) = (windows(width), windows(height));
        ReceptiveFields {
            width,
            height,
            columns,
            rows,
            sums: vec![0.0; columns * rows * DIRECTIONS],
        }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.sums.len() * LEVELS.len()
    }

    /// Replaces `spikes` by those of an image, given row after row. An image without any edge has
    /// none.
    ///
    /// # Panics
    /// If the image has another size.
    pub fn encode(&mut self, image: &[f32], spikes: &mut Spikes) {
        assert_eq!(image.len(), self.width * self.height, "pixels");
        spikes.clear();
        let top = self.pool(image);
        if !(top > 0.0 && top.is_finite()) {
            return;
        }
        for (unit, sum) in self.sums.iter().enumerate() {
            for (k, level) in LEVELS.iter().enumerate() {
                if *sum >= level * top {
                    spikes.push((unit * LEVELS.len() + k) as u32, 1.0);
                }
            }
        }
    }

    /// Sums up gradients by window and direction; returns the largest gradient.
    fn pool(&mut self, image: &[f32]) -> f32 {
        self.sums.fill(0.0);
        let mut top = 0.0f32;
        for y in 0..self.height {
            for x in 0..self.width {
                let (gx, gy) = self.gradient(image, x, y);
                if gx == 0.0 && gy == 0.0 {
                    continue;
                }
                let size = libm::hypotf(gx, gy);
                top = top.max(size);
                let turn = libm::atan2f(gy, gx) / std::f32::consts::TAU + 1.0;
                let place = turn * DIRECTIONS as f32;
                let low = place as usize;
                let share = place - low as f32;
                self.add(x, y, low % DIRECTIONS, size * (1.0 - share));
                self.add(x, y, (low + 1) % DIRECTIONS, size * share);
            }
        }
        top
    }

    /// Sobel's operator; beyond the edge all is 0.
    fn gradient(&self, image: &[f32], x: usize, y: usize) -> (f32, f32) {
        let pixel = |dx: usize, dy: usize| {
            // One pixel up and left of the neighbourhood is index 0 of neither.
            let (x, y) = ((x + dx).wrapping_sub(1), (y + dy).wrapping_sub(1));
            if x < self.width && y < self.height {
                image[y * self.width + x]
            } else {
                0.0
            }
        };
        let column = |dx| pixel(dx, 0) + 2.0 * pixel(dx, 1) + pixel(dx, 2);
        let row = |dy| pixel(0, dy) + 2.0 * pixel(1, dy) + pixel(2, dy);
        (column(2) - column(0), row(2) - row(0))
    }

    /// Adds to the sums of all windows that hold a pixel.
    fn add(&mut self, x: usize, y: usize, direction: usize, size: f32) {
        for row in holding(y, self.rows) {
            for column in holding(x, self.columns) {
                self.sums[(row * self.columns + column) * DIRECTIONS + direction] += size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spikes of an image that `bright` says pixel by pixel.
    fn spikes(size: usize, bright: impl Fn(usize, usize) -> f32) -> Vec<u32> {
        let pixels = (0..size * size).map(|i| bright(i % size, i / size));
        let (mut fields, mut spikes) = (ReceptiveFields::new(size, size), Spikes::default());
        fields.encode(&pixels.collect::<Vec<_>>(), &mut spikes);
        spikes.index
    }

    fn directions(spikes: &[u32]) -> Vec<usize> {
        let mut seen: Vec<usize> = spikes
            .iter()
            .map(|i| *i as usize / LEVELS.len() % DIRECTIONS)
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn every_pixel_is_in_a_window_and_every_window_holds_a_pixel() {
        for side in [1, 2, 6, 7, 28, 31] {
            let n = windows(side);
            let mut held = vec![0; n];
            for at in 0..side {
                assert!(!holding(at, n).is_empty(), "{side} {at}");
                holding(at, n).for_each(|w| held[w] += 1);
            }
            assert!(held.iter().all(|h| (1..=WINDOW).contains(h)), "{side}");
        }
    }

    #[test]
    fn an_edge_spikes_in_its_own_direction_only() {
        // Bright on the right: the gradient points to +x, direction 0. The frame has edges of its
        // own, so that only windows in the middle count.
        let seen = spikes(60, |x, _| if x < 30 { 0.0 } else { 1.0 });
        let columns = windows(60);
        let inner = |i: &&u32| {
            let window = **i as usize / LEVELS.len() / DIRECTIONS;
            let (column, row) = (window % columns, window / columns);
            (5..12).contains(&column) && (5..12).contains(&row)
        };
        let inner: Vec<u32> = seen.iter().filter(inner).copied().collect();
        assert!(!inner.is_empty());
        assert_eq!(directions(&inner), [0]);
    }

    #[test]
    fn contrast_does_not_matter_and_no_edge_is_silence() {
        let image = |x: usize, y: usize| ((x * y) % 7) as f32;
        assert_eq!(spikes(20, image), spikes(20, |x, y| 0.25 * image(x, y)));
        assert!(spikes(20, |_, _| 0.0).is_empty());
        assert!(spikes(20, |_, _| f32::NAN).is_empty());
    }
}
