//! Decodes untrusted pictures. The size in a picture's header is checked before memory is allocated for it, so that a small
//! file cannot expand to more than [`PIXELS_MAX`].

use std::fmt;
use std::io::Cursor;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Maximum pixels of a picture: 4096 x 4096. Decoding a progressive JPEG of that size takes 150 MB.
pub(crate) const PIXELS_MAX: u64 = 1 << 24;

/// Extra bytes after the last pixel, so that four bytes can be read at every pixel.
pub(crate) const SLACK_BYTES: usize = 3;

/// A decoded picture: rows from top to bottom, without gaps.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Bytes per pixel: 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha.
    pub(crate) step: usize,
    /// The pixels, and then [`SLACK_BYTES`] zeros.
    pub(crate) bytes: Vec<u8>,
}

/// Why a picture cannot be read.
#[derive(Debug)]
pub(crate) enum PictureError {
    /// It is neither a JPEG nor a PNG.
    Format,
    /// It claims more than [`PIXELS_MAX`].
    TooLarge { width: u64, height: u64 },
    /// It is damaged, or of a kind that the decoder does not support.
    Broken { format: &'static str, why: String },
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => {
                write!(f, "this is neither a JPEG nor a PNG picture: send one of these")
            }
            Self::TooLarge { width, height } => write!(
                f,
                "the picture has {width} x {height} pixels, more than the {PIXELS_MAX} allowed: send a smaller one"
            ),
            Self::Broken { format, why } => write!(f, "the {format} cannot be decoded: {why}"),
        }
    }
}

/// Decodes a JPEG or PNG.
///
/// # Errors
/// If `file` is neither, is damaged, or has more than [`PIXELS_MAX`] pixels.
pub(crate) fn decode(file: Vec<u8>) -> Result<Picture, PictureError> {
    if file.starts_with(b"\xFF\xD8\xFF") {
        jpeg(file)
    } else if file.starts_with(b"\x89PNG\r\n\x1A\n") {
        png(file)
    } else {
        Err(PictureError::Format)
    }
}

fn jpeg(file: Vec<u8>) -> Result<Picture, PictureError> {
    let broken = |e: zune_jpeg::errors::DecodeErrors| PictureError::Broken {
        format: "JPEG",
        why: e.to_string(),
    };
    // The format's own limit. The limit on the product is checked below.
    let side_max = usize::from(u16::MAX);
    let options = DecoderOptions::default()
        .set_max_width(side_max)
        .set_max_height(side_max)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(broken)?;
    let nothing = || PictureError::Broken { format: "JPEG", why: "it has no size".into() };
    let info = decoder.info().ok_or_else(nothing)?;
    check_size(info.width.into(), info.height.into())?;
    let mut bytes = vec![0; decoder.output_buffer_size().ok_or_else(nothing)? + SLACK_BYTES];
    decoder.decode_into(&mut bytes).map_err(broken)?;
    Ok(Picture { width: info.width.into(), height: info.height.into(), step: 3, bytes })
}

fn png(file: Vec<u8>) -> Result<Picture, PictureError> {
    let broken = |e: png::DecodingError| PictureError::Broken { format: "PNG", why: e.to_string() };
    let mut decoder = png::Decoder::new(Cursor::new(file));
    // Skips text and colour profiles, which are compressed too and not needed.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(broken)?;
    check_size(header.width.into(), header.height.into())?;
    let mut reader = decoder.read_info().map_err(broken)?;
    let size = reader.output_buffer_size().ok_or_else(|| PictureError::Broken {
        format: "PNG",
        why: "it does not fit in memory".into(),
    })?;
    let mut bytes = vec![0; size + SLACK_BYTES];
    let frame = reader.next_frame(&mut bytes).map_err(broken)?;
    Ok(Picture {
        width: frame.width as usize,
        height: frame.height as usize,
        step: frame.color_type.samples(),
        bytes,
    })
}

fn check_size(width: u64, height: u64) -> Result<(), PictureError> {
    if width * height > PIXELS_MAX {
        return Err(PictureError::TooLarge { width, height });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
