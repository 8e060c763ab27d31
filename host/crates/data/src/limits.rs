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

/// Maximum cells of a table: rows times columns. As numbers, so many fill [`DATA_BYTES_MAX`].
pub const CELLS_MAX: usize = 1 << 30;

/// Maximum bytes of one cell of text.
pub const CELL_BYTES_MAX: usize = 1 << 20;

/// Maximum bytes of one row of a CSV file. A quotation mark that is never closed makes all that follows one row.
pub const ROW_BYTES_MAX: usize = 16 << 20;

/// Maximum bytes of all texts of a table.
pub const TEXT_BYTES_MAX: u64 = 4 << 30;

/// Maximum bytes of the name of a column or an array.
pub const NAME_BYTES_MAX: usize = 1024;

/// Maximum bytes of one page of a Parquet file, unpacked. Usual ones have 1 MiB.
pub const PAGE_BYTES_MAX: u64 = 256 << 20;

/// Maximum bytes of the footer of a Parquet file. One of 1,000 columns and 100 row groups has some 15 MiB.
pub const FOOTER_BYTES_MAX: u64 = 64 << 20;

/// Maximum levels of groups in the schema of a Parquet file, with that of the columns. The library recurses once for each.
pub const SCHEMA_LEVELS_MAX: u64 = 16;

/// Maximum elements of the schema of a Parquet file: columns, and groups around them.
pub const SCHEMA_ELEMENTS_MAX: u64 = COLUMNS_MAX as u64 * SCHEMA_LEVELS_MAX;

/// Maximum row groups of a Parquet file. The format numbers them with 16 bits.
pub const ROW_GROUPS_MAX: u64 = 1 << 15;

/// Maximum columns of all row groups of a Parquet file. What describes one takes half a KiB in memory.
pub const COLUMN_CHUNKS_MAX: u64 = 1 << 20;

/// Maximum keys of the metadata of a Parquet file.
pub const KEY_VALUES_MAX: u64 = 1 << 16;

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

/// The limits that depend on what a file holds, together, so that tests can show refusals without files of gigabytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) file_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) cells: usize,
    pub(crate) cell_bytes: usize,
    pub(crate) row_bytes: usize,
    pub(crate) text_bytes: u64,
    pub(crate) name_bytes: usize,
    pub(crate) page_bytes: u64,
    pub(crate) footer_bytes: u64,
    pub(crate) schema_levels: u64,
    pub(crate) schema_elements: u64,
    pub(crate) row_groups: u64,
    pub(crate) column_chunks: u64,
    pub(crate) key_values: u64,
    pub(crate) pictures: usize,
}

impl Bounds {
    pub(crate) const USUAL: Self = Self {
        file_bytes: FILE_BYTES_MAX,
        data_bytes: DATA_BYTES_MAX,
        rows: ROWS_MAX,
        columns: COLUMNS_MAX,
        cells: CELLS_MAX,
        cell_bytes: CELL_BYTES_MAX,
        row_bytes: ROW_BYTES_MAX,
        text_bytes: TEXT_BYTES_MAX,
        name_bytes: NAME_BYTES_MAX,
        page_bytes: PAGE_BYTES_MAX,
        footer_bytes: FOOTER_BYTES_MAX,
        schema_levels: SCHEMA_LEVELS_MAX,
        schema_elements: SCHEMA_ELEMENTS_MAX,
        row_groups: ROW_GROUPS_MAX,
        column_chunks: COLUMN_CHUNKS_MAX,
        key_values: KEY_VALUES_MAX,
        pictures: PICTURES_MAX,
    };
}
