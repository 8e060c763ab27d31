//! The footers of Parquet files. One that is let through to the library announces no more than the limits, and no bytes make the check panic.
#![no_main]

use hospes::data::{
    COLUMN_CHUNKS_MAX, COLUMNS_MAX, ROW_GROUPS_MAX, SCHEMA_ELEMENTS_MAX, SCHEMA_LEVELS_MAX, parquet,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(footer) = parquet::footer(bytes) else { return };
    assert!(footer.columns <= COLUMNS_MAX);
    assert!(footer.levels as u64 <= SCHEMA_LEVELS_MAX);
    assert!(footer.schema_elements <= SCHEMA_ELEMENTS_MAX);
    assert!(footer.row_groups <= ROW_GROUPS_MAX);
    assert!(footer.column_chunks <= COLUMN_CHUNKS_MAX);
    // What is announced has a byte or more.
    assert!(
        footer.schema_elements + footer.row_groups + footer.column_chunks <= bytes.len() as u64
    );
});
