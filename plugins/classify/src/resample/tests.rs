use super::*;
use crate::picture::SLACK_BYTES;

/// A picture without smooth areas, so that a wrong weight changes the result.
fn rough(width: usize, height: usize, step: usize) -> Picture {
    let byte = |i: u64| ((i * i * 31 + i * 7) >> 3) as u8;
    let mut bytes: Vec<u8> = (0..(width * height * step) as u64).map(byte).collect();
    bytes.extend([0; SLACK_BYTES]);
    Picture { width, height, step, bytes }
}

/// FNV-1a over the values as bytes.
fn hash(input: &[f32]) -> u64 {
    input.iter().fold(0xCBF2_9CE4_8422_2325, |hash, value| {
        let byte = (value * 128.0 + 127.0) as u64;
        (hash ^ byte).wrapping_mul(0x0100_0000_01B3)
    })
}

#[test]
fn every_pixel_is_the_one_that_pillow_makes() {
    // From Pillow 13.0: `image.crop(…).resize((224, 224), Image.BICUBIC)`, planes in the order red, green, blue.
    for (width, height, step, expected) in [
        (300, 200, 3, 0xBADF_3691_CCCC_8122),
        (224, 224, 3, 0xD3CA_FFFE_2666_B980),
        (1000, 700, 4, 0xF20D_E4E3_FBFA_86C9),
        (90, 160, 1, 0x3754_1B79_F79B_C42F),
        (256, 300, 2, 0x5F24_9825_E426_5325),
        (17, 5, 3, 0xA668_3B46_408C_F595),
        (1, 1, 3, 0xDC4F_65C8_4BD3_6725),
        (600, 3, 1, 0x7787_4902_A4D9_4812),
    ] {
        let input = centre(&rough(width, height, step));
        assert_eq!(input.len(), 3 * SIDE * SIDE);
        assert_eq!(hash(&input), expected, "{width} x {height}, {step} bytes a pixel");
    }
}

#[test]
fn one_colour_stays_what_it_is() {
    for (value, expected) in [(0_u8, -127.0 / 128.0), (127, 0.0), (255, 1.0)] {
        let bytes = vec![value; 300 * 500 * 3 + SLACK_BYTES];
        let input = centre(&Picture { width: 300, height: 500, step: 3, bytes });
        assert!(input.iter().all(|&v| v == expected), "{value}");
    }
}

#[test]
fn weights_sum_to_one() {
    for size in [1, 2, 7, 223, 224, 225, 1000, 3584] {
        for taps in taps(size) {
            let sum: i64 = taps.weights.iter().map(|&weight| i64::from(weight)).sum();
            let off = (sum - (1 << PRECISION_BITS)).unsigned_abs() as usize;
            assert!(off <= taps.weights.len(), "{size}: off by {off}");
            assert!(taps.first + taps.weights.len() <= size, "{size}");
        }
    }
}

#[test]
fn sums_do_not_overflow() {
    // The largest possible sum of weighted bytes: white for all positive weights, black for all negative ones.
    for size in [1, 7, 224, 1000, 3584] {
        for taps in taps(size) {
            let largest: i64 = taps.weights.iter().map(|&w| i64::from(w.max(0)) * 255).sum();
            assert!(largest + i64::from(HALF) <= i64::from(i32::MAX), "{size}");
        }
    }
}
