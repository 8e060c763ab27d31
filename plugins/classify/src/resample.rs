//! Converts the centre of a picture to the model's input. The centre is a square with seven eighths of the shorter side. It is
//! resized with the bicubic filter, bit for bit like Pillow, and scaled to `(v - 127) / 128`.
//!
//! As in Pillow, the weights are fixed-point numbers, and the picture is rounded to bytes between the two passes. The inner
//! loops work on whole rows or four lanes. In a guest, a loop over single bytes would take several times as long.

use crate::picture::Picture;

/// Width and height of the model's input, in pixels.
pub(crate) const SIDE: usize = 224;

/// The part of the shorter side that the model gets.
const SEEN: f64 = 224.0 / 256.0;

/// The filter's radius in pixels, at the scale of the smaller picture.
const REACH: f64 = 2.0;

/// The fractional bits of a weight. Of 32 bits, 8 are for a byte and 2 for weights greater than 1.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// A row of the resized picture: red, green, blue, [`SIDE`] bytes of each.
const ROW: usize = 3 * SIDE;

/// The model's input for `picture`: f32[3, SIDE, SIDE].
pub(crate) fn centre(picture: &Picture) -> Vec<f32> {
    let shorter = picture.width.min(picture.height);
    let side = (shorter as f64 * SEEN).round_ties_even() as usize;
    let (left, top) = ((picture.width - side) / 2, (picture.height - side) / 2);
    let taps = taps(side);

    let mut narrow = vec![0; side * ROW];
    for (y, out) in narrow.chunks_exact_mut(ROW).enumerate() {
        let start = ((top + y) * picture.width + left) * picture.step;
        narrow_row(&picture.bytes[start..], picture.step, &taps, out);
    }
    let mut input = vec![0.0; ROW * SIDE];
    let mut sums = [0; ROW];
    for (y, taps) in taps.iter().enumerate() {
        sums.fill(HALF);
        let rows = narrow[taps.first * ROW..].chunks_exact(ROW);
        for (row, &weight) in rows.zip(&taps.weights) {
            for (sum, &byte) in sums.iter_mut().zip(row) {
                *sum += i32::from(byte) * weight;
            }
        }
        for (plane, sums) in sums.chunks_exact(SIDE).enumerate() {
            let out = &mut input[(plane * SIDE + y) * SIDE..][..SIDE];
            for (value, &sum) in out.iter_mut().zip(sums) {
                *value = (to_byte(sum) - 127) as f32 / 128.0;
            }
        }
    }
    input
}

/// The pixels that make up one pixel of the result.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The source pixels and weights for each of the [`SIDE`] pixels of a resized row or column of `size` pixels.
fn taps(size: usize) -> Vec<Taps> {
    let scale = size as f64 / SIDE as f64;
    let stretch = scale.max(1.0);
    let reach = REACH * stretch;
    (0..SIDE)
        .map(|index| {
            let middle = (index as f64 + 0.5) * scale;
            let first = (middle - reach + 0.5).max(0.0) as usize;
            let end = ((middle + reach + 0.5) as usize).min(size);
            let exact: Vec<f64> = (first..end)
                .map(|x| bicubic((x as f64 - middle + 0.5) * (1.0 / stretch)))
                .collect();
            let sum: f64 = exact.iter().sum();
            let fixed = |weight: &f64| {
                let scaled = weight / sum * f64::from(1 << PRECISION_BITS);
                // Adds one half away from zero, then truncates towards zero.
                (scaled + 0.5_f64.copysign(scaled)) as i32
            };
            Taps { first, weights: exact.iter().map(fixed).collect() }
        })
        .collect()
}

/// Keys' cubic convolution with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Resizes one row of pixels and separates its colours. Reads four bytes for every pixel, whatever its size. The lanes that
/// belong to the next pixel are dropped at the end.
fn narrow_row(row: &[u8], step: usize, taps: &[Taps], out: &mut [u8]) {
    let (red, rest) = out.split_at_mut(SIDE);
    let (green, blue) = rest.split_at_mut(SIDE);
    // A grey picture has one lane for all three colours.
    let lanes = if step < 3 { [0; 3] } else { [0, 1, 2] };
    for (x, taps) in taps.iter().enumerate() {
        let mut sums = [HALF; 4];
        for (tap, &weight) in taps.weights.iter().enumerate() {
            let start = (taps.first + tap) * step;
            let pixel = &row[start..start + 4];
            for (sum, &byte) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(byte) * weight;
            }
        }
        red[x] = to_byte(sums[lanes[0]]) as u8;
        green[x] = to_byte(sums[lanes[1]]) as u8;
        blue[x] = to_byte(sums[lanes[2]]) as u8;
    }
}

/// Converts fixed point to 0..=255.
fn to_byte(sum: i32) -> i32 {
    (sum >> PRECISION_BITS).clamp(0, 255)
}

#[cfg(test)]
mod tests;
