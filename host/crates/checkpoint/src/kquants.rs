//! Values of ggml's K-quants: 256 weights with scales of parts, which share a scale. `dequantize_row_q*_K` of `ggml-quants.c`.

use super::element::half;

/// Weights of a block.
pub(super) const WEIGHTS: usize = 256;

fn part(block: &[u8], from: usize, size: usize) -> &[u8] {
    block.get(from..from + size).unwrap_or_default()
}

fn scale(block: &[u8], at: usize) -> f32 {
    block.get(at..).and_then(half).unwrap_or_default()
}

fn at(bytes: &[u8], place: usize) -> u8 {
    bytes.get(place).copied().unwrap_or_default()
}

/// 2 bits; parts of 16 with a scale and a minimum.
pub(super) fn q2(block: &[u8], out: &mut Vec<f32>) {
    let (scales, codes) = (part(block, 0, 16), part(block, 16, 64));
    let (d, dmin) = (scale(block, 80), scale(block, 82));
    for place in 0..WEIGHTS {
        let (half, rest) = (place / 128, place % 128);
        let code = at(codes, half * 32 + rest % 32) >> (rest / 32 * 2) & 3;
        let both = at(scales, place / 16);
        out.push(d * f32::from(both & 15) * f32::from(code) - dmin * f32::from(both >> 4));
    }
}

/// 3 bits, the third apart; parts of 16 with a scale of 6 bits.
pub(super) fn q3(block: &[u8], out: &mut Vec<f32>) {
    let (high, codes, packed) = (part(block, 0, 32), part(block, 32, 64), part(block, 96, 12));
    let d = scale(block, 108);
    for place in 0..WEIGHTS {
        let (half, rest) = (place / 128, place % 128);
        let low = at(codes, half * 32 + rest % 32) >> (rest / 32 * 2) & 3;
        let third = at(high, rest % 32) >> (half * 4 + rest / 32) & 1;
        let index = place / 16;
        let nibble = at(packed, index % 8) >> (index / 8 * 4) & 15;
        let upper = at(packed, 8 + index % 4) >> (index / 4 * 2) & 3;
        let scale = f32::from(nibble | upper << 4) - 32.0;
        out.push(d * scale * (f32::from(low) - if third == 1 { 0.0 } else { 4.0 }));
    }
}

/// The scale and the minimum of a part of 32, of 6 bits each.
fn scale_and_minimum(packed: &[u8], index: usize) -> (f32, f32) {
    if index < 4 {
        return (f32::from(at(packed, index) & 63), f32::from(at(packed, index + 4) & 63));
    }
    let low = at(packed, index + 4);
    let scale = low & 15 | at(packed, index - 4) >> 6 << 4;
    let minimum = low >> 4 | at(packed, index) >> 6 << 4;
    (f32::from(scale), f32::from(minimum))
}

/// 4 bits; parts of 32 with a scale and a minimum.
pub(super) fn q4(block: &[u8], out: &mut Vec<f32>) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (packed, codes) = (part(block, 4, 12), part(block, 16, 128));
    for place in 0..WEIGHTS {
        let (sc, minimum) = scale_and_minimum(packed, place / 32);
        let code = at(codes, place / 64 * 32 + place % 32) >> (place / 32 % 2 * 4) & 15;
        out.push(d * sc * f32::from(code) - dmin * minimum);
    }
}

/// 5 bits, the fifth apart; parts of 32 with a scale and a minimum.
pub(super) fn q5(block: &[u8], out: &mut Vec<f32>) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (packed, high, codes) = (part(block, 4, 12), part(block, 16, 32), part(block, 48, 128));
    for place in 0..WEIGHTS {
        let (sc, minimum) = scale_and_minimum(packed, place / 32);
        let low = at(codes, place / 64 * 32 + place % 32) >> (place / 32 % 2 * 4) & 15;
        let fifth = at(high, place % 32) >> (place / 32) & 1;
        out.push(d * sc * f32::from(low | fifth << 4) - dmin * minimum);
    }
}

/// 6 bits, the upper two apart; parts of 16 with a scale of 8 bits.
pub(super) fn q6(block: &[u8], out: &mut Vec<f32>) {
    let (low, high, scales) = (part(block, 0, 128), part(block, 128, 64), part(block, 192, 16));
    let d = scale(block, 208);
    for place in 0..WEIGHTS {
        let (half, rest) = (place / 128, place % 128);
        let nibble = at(low, half * 64 + rest % 64) >> (rest / 64 * 4) & 15;
        let upper = at(high, half * 32 + rest % 32) >> (rest / 32 * 2) & 3;
        let code = f32::from(nibble | upper << 4) - 32.0;
        out.push(d * f32::from(at(scales, place / 16).cast_signed()) * code);
    }
}
