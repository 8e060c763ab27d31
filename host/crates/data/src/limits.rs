//! How large a data set may be. Every size is checked before memory is allocated for it.

/// Maximum bytes of one file.
pub const FILE_BYTES_MAX: u64 = 4 << 30;

/// Maximum bytes of all columns in memory, after decompressing and decoding.
pub const DATA_BYTES_MAX: u64 = 8 << 30;

/// Maximum rows.
pub const ROWS_MAX: usize = 50_000_000;

/// Maximum columns of a table.
pub const COLUMNS_MAX: usize = 16_384;

/// Maximum arrays of an `.npz` file.
pub const ARRAYS_MAX: usize = 256;

/// Maximum bytes of one cell of text.
pub const CELL_BYTES_MAX: usize = 1 << 20;

/// Maximum classes of labels.
pub const CLASSES_MAX: usize = 10_000;

/// Whole numbers below this, without any negative one, are taken as classes unless the caller says what they are.
pub(crate) const CLASS_NUMBER_MAX: i64 = 1_000;

/// Maximum pictures of a folder.
pub const PICTURES_MAX: usize = 2_000_000;

/// Maximum bytes of one picture's file.
pub const PICTURE_BYTES_MAX: u64 = 64 << 20;

/// Maximum width and height of a picture, in pixels.
pub const PICTURE_SIDE_MAX: u32 = 16_384;

/// Maximum bytes of the decoder of one picture.
pub(crate) const PICTURE_DECODED_BYTES_MAX: u64 = 1 << 30;

/// How many faults are listed. The others are counted.
pub const FAULTS_MAX: usize = 20;
