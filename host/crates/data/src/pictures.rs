//! A folder of pictures: a subfolder for each class, in it PNG and JPEG files.
//!
//! All pictures become one column `image` of bytes, UINT8 `[rows, height, width, channels]`. Hidden files and those that file managers leave are
//! passed over; anything else that is no picture is a fault, since it may be a picture that somebody misses.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use hospes_core::id::Digest;
use hospes_core::tensor::{DataType, Tensor};
use image::{DynamicImage, ImageFormat, ImageReader, Limits, imageops::FilterType};

use crate::fault::{DataError, Faults, Place, Problem};
use crate::labels::{Classes, Labels};
use crate::limits::{
    Bounds, CLASSES_MAX, PICTURE_BYTES_MAX, PICTURE_DECODED_BYTES_MAX, PICTURE_SIDE_MAX,
};
use crate::read::{PictureOptions, file_bytes};
use crate::set::{Column, DataSet, Source};

/// What file managers leave in folders.
const LEFT: [&str; 2] = ["Thumbs.db", "desktop.ini"];

/// Classes, each with its files.
type FilesByClass = Vec<(String, Vec<PathBuf>)>;

/// The files of a folder with subfolders, by class. `None` if no subfolder has a picture.
pub(crate) fn look(folder: &Path, bounds: &Bounds) -> Result<Option<FilesByClass>, DataError> {
    let max = bounds.pictures;
    let mut classes = Vec::new();
    let mut faults = Faults::default();
    let mut count = 0;
    for subfolder in entries(folder, max)?.into_iter().filter(|path| path.is_dir()) {
        if classes.len() == CLASSES_MAX {
            return Err(DataError::one(folder, Place::File, Problem::Classes { max: CLASSES_MAX }));
        }
        let name = subfolder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut pictures = Vec::new();
        for file in entries(&subfolder, max)? {
            match format(&file) {
                Some(_) => pictures.push(file),
                None => faults.add(&file, Place::File, Problem::NotPicture),
            }
            count += 1;
            if count > max {
                let many = Problem::Many { what: "pictures", max };
                return Err(DataError::one(folder, Place::File, many));
            }
        }
        if !pictures.is_empty() {
            classes.push((name, pictures));
        }
    }
    if classes.is_empty() {
        return Ok(None);
    }
    faults.check()?;
    if classes.len() < 2 {
        let problem = Problem::FewClasses { classes: classes.len() };
        return Err(DataError::one(folder, Place::File, problem));
    }
    Ok(Some(classes))
}

/// The entries of a folder that are not hidden, sorted by name, at most `max`.
fn entries(folder: &Path, max: usize) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::open(folder))? {
        let path = entry.map_err(DataError::open(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') && !LEFT.contains(&name.as_str()) {
            paths.push(path);
        }
        if paths.len() > max {
            let many = Problem::Many { what: "files", max };
            return Err(DataError::one(folder, Place::File, many));
        }
    }
    paths.sort();
    Ok(paths)
}

fn format(path: &Path) -> Option<ImageFormat> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    match end.as_str() {
        "png" => Some(ImageFormat::Png),
        "jpg" | "jpeg" => Some(ImageFormat::Jpeg),
        _ => None,
    }
}

/// Reads the pictures that [`look`] has found. All faults are collected.
pub(crate) fn read(
    folder: &Path,
    classes: Vec<(String, Vec<PathBuf>)>,
    options: &PictureOptions,
    bounds: &Bounds,
) -> Result<DataSet, DataError> {
    let mut faults = Faults::default();
    let mut sources = Vec::new();
    let (mut of, mut names, mut pixels) = (Vec::new(), Vec::new(), Vec::new());
    let mut form = Form { size: options.size, channels: options.channels };
    for (class, (name, files)) in classes.into_iter().enumerate() {
        for file in files {
            let bytes = file_bytes(&file, PICTURE_BYTES_MAX)?;
            let below = file.strip_prefix(folder).unwrap_or(&file);
            sources.push(Source {
                name: below.to_string_lossy().into_owned(),
                digest: Digest::of(&bytes),
                bytes: bytes.len() as u64,
            });
            match decode(&file, &bytes).and_then(|picture| form.apply(picture, options)) {
                Err(problem) => faults.add(&file, Place::File, problem),
                Ok(raw) => {
                    if (pixels.len() + raw.len()) as u64 > bounds.data_bytes {
                        let memory = Problem::Memory { max: bounds.data_bytes };
                        return Err(DataError::one(&file, Place::File, memory));
                    }
                    pixels.extend_from_slice(&raw);
                    of.push(u32::try_from(class).expect("invariant: few classes"));
                }
            }
        }
        names.push(name);
    }
    faults.check()?;
    let (width, height) = form.size.unwrap_or_default();
    let channels = usize::from(form.channels.unwrap_or_default());
    let shape = vec![of.len(), height as usize, width as usize, channels];
    let tensor = Tensor::new(DataType::U8, shape, pixels.into());
    let tensor = tensor.map_err(|error| DataError::one(folder, Place::File, error))?;
    let labels = Classes::new(of, names).expect("invariant: every class has its name");
    let columns = vec![Column { name: "image".into(), tensor }];
    DataSet::new(folder, columns, Some(Labels::Classes(labels)), sources)
}

fn decode(file: &Path, bytes: &[u8]) -> Result<DynamicImage, Problem> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    if let Some(format) = format(file) {
        reader.set_format(format);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(PICTURE_SIDE_MAX);
    limits.max_image_height = Some(PICTURE_SIDE_MAX);
    limits.max_alloc = Some(PICTURE_DECODED_BYTES_MAX);
    reader.limits(limits);
    reader.decode().map_err(|error| Problem::Picture(error.to_string()))
}

/// The size and channels of all pictures: as the caller says, otherwise as the first has them.
struct Form {
    size: Option<(u32, u32)>,
    channels: Option<u8>,
}

impl Form {
    /// The pixels of a picture in this form, row by row.
    fn apply(
        &mut self,
        picture: DynamicImage,
        options: &PictureOptions,
    ) -> Result<Vec<u8>, Problem> {
        let (width, height) = (picture.width(), picture.height());
        let (first_width, first_height) = *self.size.get_or_insert((width, height));
        let picture = match options.size {
            _ if (width, height) == (first_width, first_height) => picture,
            Some((width, height)) => picture.resize_exact(width, height, FilterType::Triangle),
            None => {
                return Err(Problem::PictureSize { width, height, first_width, first_height });
            }
        };
        let own = if picture.color().has_color() { 3 } else { 1 };
        match self.channels.get_or_insert(own) {
            1 => Ok(picture.into_luma8().into_raw()),
            _ => Ok(picture.into_rgb8().into_raw()),
        }
    }
}
