//! Finds the parts of a bundle by walking the top-level sections of a WebAssembly binary.
//!
//! This module is the first to read untrusted bytes. It reads section headers only, never code or weights, and allocates for at most
//! [`MODELS_MAX`] models. After the component's own sections come `hospes:manifest`, one `hospes:model/<name>` per model, at most one each
//! of `hospes:provenance`, `hospes:profile`, `hospes:card` and `hospes:signature`, in that order, and nothing else. Their headers must have minimal length. The component's own headers may be padded,
//! because some toolchains do that.

use std::io::Write;
use std::ops::Range;

use super::BundleLimits;
use super::manifest::{MANIFEST_BYTES_MAX, MODELS_MAX};
use super::names::{GraphName, NameError};

/// Maximum size of the signature section's JSON, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 256 << 10;

/// Maximum size of the provenance section's envelope, in bytes.
pub const PROVENANCE_BYTES_MAX: usize = hospes_core::dsse::ENVELOPE_BYTES_MAX;
/// Maximum size of the profile section's JSON, in bytes.
pub const PROFILE_BYTES_MAX: usize = 1 << 20;
/// Maximum size of the card section's Markdown, in bytes.
pub const README_BYTES_MAX: usize = 256 << 10;

const HEADER_BYTES: usize = 8;
const MAGIC: &[u8] = b"\0asm";
/// Version 13, layer 1: the current binary format of the component model.
const COMPONENT_VERSION: [u8; 4] = [0x0d, 0, 1, 0];
/// Version 1, layer 0.
const MODULE_VERSION: [u8; 4] = [1, 0, 0, 0];
const CUSTOM_SECTION: u8 = 0;

/// Name prefix of our sections.
const PREFIX: &str = "hospes:";
pub(super) const MANIFEST_SECTION: &str = "hospes:manifest";
pub(super) const MODEL_SECTION_PREFIX: &str = "hospes:model/";
pub(super) const SIGNATURE_SECTION: &str = "hospes:signature";

/// What a bundle may carry besides its models, in the order of its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// Where the model comes from: an in-toto statement in DSSE.
    Provenance,
    /// What its inputs and outputs look like on held-out data.
    Profile,
    /// The publisher's `README.md`, whole.
    Card,
}

impl Extra {
    /// Every one, in order.
    pub const ALL: [Self; 3] = [Self::Provenance, Self::Profile, Self::Card];

    /// The name of its section.
    pub(super) fn section(self) -> &'static str {
        match self {
            Extra::Provenance => "hospes:provenance",
            Extra::Profile => "hospes:profile",
            Extra::Card => "hospes:card",
        }
    }

    /// What people call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Extra::Provenance => "provenance",
            Extra::Profile => "profile",
            Extra::Card => "card",
        }
    }

    /// Its maximum size in bytes.
    pub fn bytes_max(self) -> usize {
        match self {
            Extra::Provenance => PROVENANCE_BYTES_MAX,
            Extra::Profile => PROFILE_BYTES_MAX,
            Extra::Card => README_BYTES_MAX,
        }
    }
}

/// Why bytes do not have the structure of a bundle. Offsets count from the first byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the bundle has {bytes} bytes, more than the {bytes_max} of `bundle_bytes_max`")]
    TooLarge { bytes: u64, bytes_max: u64 },
    #[error("the file is not WebAssembly: it does not begin with `\\0asm`")]
    NotWasm,
    #[error("the file is a core WebAssembly module, not a component: build it with `hospes build`")]
    CoreModule,
    #[error(
        "the file has an unknown WebAssembly version: only components of version 13 are supported"
    )]
    UnknownVersion,
    #[error("the section at offset {offset} says it has {bytes} bytes, but {left} are left")]
    Truncated { offset: usize, bytes: u64, left: usize },
    #[error("the section header at offset {offset} is cut off")]
    HeaderTruncated { offset: usize },
    #[error("the length at offset {offset} is not an unsigned LEB128 number of 32 bits")]
    Length { offset: usize },
    #[error("the length at offset {offset} is not in its shortest form")]
    LengthPadded { offset: usize },
    #[error("the name of the custom section at offset {offset} is outside it, or not UTF-8")]
    SectionName { offset: usize },
    #[error("the component has more than the {bytes_max} bytes of `code_bytes_max`")]
    CodeTooLarge { bytes_max: u64 },
    #[error("the file has no `hospes:manifest` section: it is a component, not a bundle")]
    NoManifest,
    #[error(
        "the section at offset {offset} stands before `hospes:manifest`, which must come first"
    )]
    BeforeManifest { offset: usize },
    #[error("the section at offset {offset} is a second `{name}`")]
    Duplicate { offset: usize, name: String },
    #[error("the section at offset {offset} is `{name}`, which a bundle cannot have")]
    Unknown { offset: usize, name: String },
    #[error(
        "the section at offset {offset} belongs to the component, but stands after the manifest"
    )]
    CodeAfterManifest { offset: usize },
    #[error("the section at offset {offset} stands after `hospes:signature`, which must be last")]
    AfterSignature { offset: usize },
    #[error("the section at offset {offset} is `{name}`, which must stand before what precedes it")]
    OutOfOrder { offset: usize, name: &'static str },
    #[error("the model section at offset {offset} stands after `{name}`, which must follow it")]
    AfterExtra { offset: usize, name: &'static str },
    #[error("the model section at offset {offset} has a bad name")]
    ModelName {
        offset: usize,
        #[source]
        source: NameError,
    },
    #[error("the bundle has more than the {MODELS_MAX} models allowed")]
    TooManyModels,
    #[error("the section `{name}` has {bytes} bytes, more than the {bytes_max} allowed")]
    SectionTooLarge { name: &'static str, bytes: usize, bytes_max: usize },
}

/// One of our sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// From the section's first byte to its last.
    pub whole: Range<usize>,
    /// Its content, without its name.
    pub payload: Range<usize>,
}

/// A bundle's parts. The ranges lie within the bytes and cover them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The component: from the first byte to the manifest.
    pub code: Range<usize>,
    pub manifest: Section,
    pub models: Vec<(GraphName, Section)>,
    pub extras: Vec<(Extra, Section)>,
    pub signature: Option<Section>,
}

impl Layout {
    /// Finds the parts of `bytes`.
    pub(super) fn read(bytes: &[u8], limits: &BundleLimits) -> Result<Self, LayoutError> {
        let length = bytes.len() as u64;
        if length > limits.bundle_bytes_max {
            return Err(LayoutError::TooLarge {
                bytes: length,
                bytes_max: limits.bundle_bytes_max,
            });
        }
        check_header(bytes)?;
        let (code_end, mut next) = find_code_end(bytes, limits)?;
        let mut parts = Parts::default();
        while let Some((section, name)) = next {
            parts.add(section, name)?;
            next = read_own_section(bytes, parts.end)?;
        }
        let manifest = parts.manifest.ok_or(LayoutError::NoManifest)?;
        let Parts { models, extras, signature, .. } = parts;
        Ok(Self { code: 0..code_end, manifest, models, extras, signature })
    }

    /// An extra's content within `bytes`, if the bundle has it.
    pub(super) fn extra<'b>(&self, extra: Extra, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (_, section) = self.extras.iter().find(|(found, _)| *found == extra)?;
        bytes.get(section.payload.clone())
    }

    /// The end of the signed bytes: the signature section, or the end of the bytes.
    pub(super) fn signed_end(&self, bytes: &[u8]) -> usize {
        self.signature.as_ref().map_or(bytes.len(), |section| section.whole.start)
    }
}

/// Appends the header of one of our sections to `out`; its payload of `payload_bytes` must follow.
///
/// Returns `None`, and writes nothing, if a section cannot be that large.
pub(super) fn write_header(
    out: &mut impl Write,
    name: &str,
    payload_bytes: u64,
) -> Option<std::io::Result<()>> {
    let name_bytes = u32::try_from(name.len()).ok()?;
    let mut named = leb(name_bytes);
    named.extend_from_slice(name.as_bytes());
    let section_bytes = u32::try_from((named.len() as u64).checked_add(payload_bytes)?).ok()?;
    let mut header = vec![CUSTOM_SECTION];
    header.extend(leb(section_bytes));
    header.extend(named);
    Some(out.write_all(&header))
}

/// Whether a component has top-level sections with our names.
pub(super) fn has_own_sections(component: &[u8]) -> Result<bool, LayoutError> {
    check_header(component)?;
    let limits = BundleLimits { bundle_bytes_max: u64::MAX, code_bytes_max: u64::MAX };
    Ok(find_code_end(component, &limits)?.1.is_some())
}

/// The bundle's sections that were found so far.
#[derive(Default)]
struct Parts {
    manifest: Option<Section>,
    models: Vec<(GraphName, Section)>,
    extras: Vec<(Extra, Section)>,
    signature: Option<Section>,
    /// The end of the last section found.
    end: usize,
}

impl Parts {
    fn add(&mut self, section: Section, name: &str) -> Result<(), LayoutError> {
        let offset = section.whole.start;
        let bytes = section.payload.len();
        self.end = section.whole.end;
        if self.signature.is_some() {
            return Err(LayoutError::AfterSignature { offset });
        }
        if name == MANIFEST_SECTION {
            at_most(MANIFEST_SECTION, bytes, MANIFEST_BYTES_MAX)?;
            if self.manifest.replace(section).is_some() {
                return Err(LayoutError::Duplicate { offset, name: name.to_owned() });
            }
            return Ok(());
        }
        if self.manifest.is_none() {
            return Err(LayoutError::BeforeManifest { offset });
        }
        if name == SIGNATURE_SECTION {
            at_most(SIGNATURE_SECTION, bytes, SIGNATURE_BYTES_MAX)?;
            self.signature = Some(section);
            return Ok(());
        }
        if let Some(extra) = Extra::ALL.into_iter().find(|extra| extra.section() == name) {
            return self.add_extra(extra, section);
        }
        let Some(model) = name.strip_prefix(MODEL_SECTION_PREFIX) else {
            return Err(LayoutError::Unknown { offset, name: shown(name) });
        };
        let model: GraphName =
            model.parse().map_err(|source| LayoutError::ModelName { offset, source })?;
        if let Some((extra, _)) = self.extras.last() {
            return Err(LayoutError::AfterExtra { offset, name: extra.section() });
        }
        if self.models.len() == MODELS_MAX {
            return Err(LayoutError::TooManyModels);
        }
        if self.models.iter().any(|(known, _)| *known == model) {
            return Err(LayoutError::Duplicate { offset, name: name.to_owned() });
        }
        self.models.push((model, section));
        Ok(())
    }

    fn add_extra(&mut self, extra: Extra, section: Section) -> Result<(), LayoutError> {
        let (offset, name) = (section.whole.start, extra.section());
        at_most(name, section.payload.len(), extra.bytes_max())?;
        match self.extras.last() {
            Some((last, _)) if *last == extra => {
                return Err(LayoutError::Duplicate { offset, name: name.to_owned() });
            }
            Some((last, _)) if *last > extra => {
                return Err(LayoutError::OutOfOrder { offset, name });
            }
            Some(_) | None => {}
        }
        self.extras.push((extra, section));
        Ok(())
    }
}

fn at_most(name: &'static str, bytes: usize, bytes_max: usize) -> Result<(), LayoutError> {
    if bytes > bytes_max {
        return Err(LayoutError::SectionTooLarge { name, bytes, bytes_max });
    }
    Ok(())
}

fn shown(name: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    name.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}

fn check_header(bytes: &[u8]) -> Result<(), LayoutError> {
    let version = bytes.strip_prefix(MAGIC).ok_or(LayoutError::NotWasm)?;
    if version.starts_with(&COMPONENT_VERSION) {
        Ok(())
    } else if version.starts_with(&MODULE_VERSION) {
        Err(LayoutError::CoreModule)
    } else {
        Err(LayoutError::UnknownVersion)
    }
}

type NamedSection<'a> = (Section, &'a str);

/// Walks over the component's own sections. Returns their end, and our section that follows.
fn find_code_end<'a>(
    bytes: &'a [u8],
    limits: &BundleLimits,
) -> Result<(usize, Option<NamedSection<'a>>), LayoutError> {
    let mut offset = HEADER_BYTES;
    while offset < bytes.len() {
        let raw = RawSection::read(bytes, offset)?;
        if let Some(own) = raw.own(bytes)? {
            return Ok((offset, Some(own)));
        }
        offset = raw.body.end;
        if offset as u64 > limits.code_bytes_max {
            return Err(LayoutError::CodeTooLarge { bytes_max: limits.code_bytes_max });
        }
    }
    Ok((offset, None))
}

/// Our section at `offset`; `None` at the end of the bytes.
fn read_own_section(bytes: &[u8], offset: usize) -> Result<Option<NamedSection<'_>>, LayoutError> {
    if offset == bytes.len() {
        return Ok(None);
    }
    let own = RawSection::read(bytes, offset)?.own(bytes)?;
    own.map(Some).ok_or(LayoutError::CodeAfterManifest { offset })
}

/// A section of which only the header has been read.
struct RawSection {
    offset: usize,
    id: u8,
    body: Range<usize>,
    padded: bool,
}

impl RawSection {
    fn read(bytes: &[u8], offset: usize) -> Result<Self, LayoutError> {
        let id = *bytes.get(offset).ok_or(LayoutError::HeaderTruncated { offset })?;
        let length = Leb::read(bytes, offset + 1)?;
        let left = bytes.len() - length.end;
        match usize::try_from(length.value).ok().filter(|length| *length <= left) {
            Some(size) => {
                let body = length.end..length.end + size;
                Ok(Self { offset, id, body, padded: length.padded })
            }
            None => Err(LayoutError::Truncated { offset, bytes: length.value.into(), left }),
        }
    }

    /// The section with its name, if it is one of ours.
    fn own<'a>(&self, bytes: &'a [u8]) -> Result<Option<NamedSection<'a>>, LayoutError> {
        let offset = self.offset;
        if self.id != CUSTOM_SECTION {
            return Ok(None);
        }
        let refused = || LayoutError::SectionName { offset };
        let within = bytes.get(..self.body.end).ok_or_else(refused)?;
        let length = Leb::read(within, self.body.start).map_err(|_| refused())?;
        let end = usize::try_from(length.value).ok().and_then(|size| length.end.checked_add(size));
        let end = end.ok_or_else(refused)?;
        let name = within.get(length.end..end).and_then(|name| str::from_utf8(name).ok());
        let name = name.ok_or_else(refused)?;
        if !name.starts_with(PREFIX) {
            return Ok(None);
        }
        if self.padded {
            return Err(LayoutError::LengthPadded { offset: offset + 1 });
        }
        if length.padded {
            return Err(LayoutError::LengthPadded { offset: self.body.start });
        }
        Ok(Some((Section { whole: offset..self.body.end, payload: end..self.body.end }, name)))
    }
}

/// An unsigned LEB128 number of at most 32 bits (WebAssembly specification, section 5.2.2).
struct Leb {
    value: u32,
    end: usize,
    /// Whether a shorter encoding exists.
    padded: bool,
}

impl Leb {
    const BYTES_MAX: usize = 5;

    fn read(bytes: &[u8], offset: usize) -> Result<Self, LayoutError> {
        let mut value = 0_u64;
        for index in 0..Self::BYTES_MAX {
            let at = offset + index;
            let byte = *bytes.get(at).ok_or(LayoutError::HeaderTruncated { offset })?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).map_err(|_| LayoutError::Length { offset })?;
                return Ok(Self { value, end: at + 1, padded: index > 0 && byte == 0 });
            }
        }
        Err(LayoutError::Length { offset })
    }
}

fn leb(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb_round_trips_and_notices_padding() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
            let bytes = leb(value);
            let read = Leb::read(&bytes, 0).expect("just written");
            assert_eq!((read.value, read.end, read.padded), (value, bytes.len(), false));
        }
        assert!(Leb::read(&[0x81, 0x00], 0).expect("padded").padded);
        assert!(matches!(
            Leb::read(&[0xff, 0xff, 0xff, 0xff, 0x1f], 0),
            Err(LayoutError::Length { .. })
        ));
        assert!(matches!(Leb::read(&[0x80; 6], 0), Err(LayoutError::Length { .. })));
        assert!(matches!(Leb::read(&[0x80], 0), Err(LayoutError::HeaderTruncated { .. })));
    }
}
