//! What documents say in plain language, and documents written from it.

pub(crate) mod phrase;
pub(crate) mod render;
pub mod templates;
