//! Documents in plain language, and documents written from plain text.

pub(crate) mod phrase;
pub(crate) mod render;
pub mod templates;
