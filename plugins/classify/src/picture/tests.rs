use super::*;

/// 24 x 16 pixels, the left half red, the right half blue.
const RED_BLUE: &[u8] = include_bytes!("tests/red_blue.jpg");

fn png_of(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(&[10, 20, 30, 200, 210, 220][..]);
    }
    let bits = color.samples() * (depth as usize) * width as usize;
    let data: Vec<u8> = (0..bits.div_ceil(8) * height as usize).map(|i| i as u8).collect();
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    file
}

/// A PNG with this size in its header, and nothing after the header.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    drop(png::Encoder::new(&mut file, width, height).write_header().unwrap());
    file
}

/// [`RED_BLUE`] with another size in its header.
fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    let mut file = RED_BLUE.to_vec();
    let frame = file.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

fn refused(file: &[u8]) -> String {
    match decode(file.to_vec()) {
        Ok(picture) => panic!("decoded {} x {}", picture.width, picture.height),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_jpeg_has_its_colours_where_they_belong() {
    let picture = decode(RED_BLUE.to_vec()).unwrap();
    assert_eq!((picture.width, picture.height, picture.step), (24, 16, 3));
    assert_eq!(picture.bytes.len(), 24 * 16 * 3 + SLACK_BYTES);
    let pixel = |x: usize, y: usize| &picture.bytes[(y * 24 + x) * 3..][..3];
    for y in 0..16 {
        let (left, right) = (pixel(1, y), pixel(22, y));
        assert!(left[0] > 180 && left[2] < 60, "row {y}: {left:?} is not red");
        assert!(right[2] > 180 && right[0] < 60, "row {y}: {right:?} is not blue");
    }
}

#[test]
fn every_kind_of_png_comes_as_bytes() {
    use png::BitDepth::{Eight, One, Sixteen};
    use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    for (color, depth, step) in [
        (Grayscale, One, 1),
        (Grayscale, Eight, 1),
        (GrayscaleAlpha, Sixteen, 2),
        (Rgb, Eight, 3),
        (Rgb, Sixteen, 3),
        (Rgba, Eight, 4),
        (Indexed, One, 3),
    ] {
        let picture = decode(png_of(9, 5, color, depth)).unwrap();
        assert_eq!((picture.width, picture.height, picture.step), (9, 5, step), "{color:?}");
        assert_eq!(picture.bytes.len(), 9 * 5 * step + SLACK_BYTES, "{color:?} {depth:?}");
    }
    let picture = decode(png_of(9, 5, Rgb, Eight)).unwrap();
    assert!(picture.bytes[..9 * 5 * 3].iter().enumerate().all(|(i, &byte)| byte == i as u8));
}

#[test]
fn a_palette_becomes_colours() {
    let picture = decode(png_of(8, 1, png::ColorType::Indexed, png::BitDepth::One)).unwrap();
    assert_eq!(picture.bytes[..3], [10, 20, 30]);
}

#[test]
fn the_size_is_checked_before_anything_is_unfolded() {
    let error = refused(&png_header(1 << 20, 1 << 20));
    assert_eq!(
        error,
        "the picture has 1048576 x 1048576 pixels, more than the 16777216 allowed: send a smaller one"
    );
    assert!(refused(&png_header(4097, 4096)).contains("4097 x 4096"));
    assert!(refused(&jpeg_header(65_535, 65_535)).contains("65535 x 65535"));
    assert!(refused(&jpeg_header(4096, 4097)).contains("4096 x 4097"));
    // At the limit, the size is accepted and the missing picture is the error.
    assert!(refused(&png_header(4096, 4096)).starts_with("the PNG cannot be decoded: "));
}

#[test]
fn other_files_are_told_apart_from_damaged_ones() {
    for other in [&b""[..], b"GIF89a", b"\xFF\xD8", b"\x89PNG\r\n\x1A"] {
        assert!(refused(other).starts_with("this is neither a JPEG nor a PNG"), "{other:?}");
    }
    assert!(refused(b"\xFF\xD8\xFFxyz").starts_with("the JPEG cannot be decoded: "));
    assert!(refused(b"\x89PNG\r\n\x1A\nxyz").starts_with("the PNG cannot be decoded: "));
    let whole = png_of(40, 40, png::ColorType::Rgb, png::BitDepth::Eight);
    assert!(refused(&whole[..whole.len() / 2]).starts_with("the PNG cannot be decoded: "));
}

#[test]
fn a_damaged_file_never_panics() {
    let png = png_of(20, 20, png::ColorType::Rgb, png::BitDepth::Eight);
    for file in [RED_BLUE, &png] {
        for at in 0..file.len() {
            let mut damaged = file.to_vec();
            damaged[at] ^= 0xA5;
            let _either = decode(damaged);
            let _either = decode(file[..at].to_vec());
        }
    }
}
