//! Packs a component, its description and its models into an unsigned bundle.
//!
//! The same inputs give the same bytes: a bundle contains no times, paths or random numbers. [`pack`] does not change weights. It reads them
//! twice: once for their digest, which precedes them in the bundle, and once to copy them. The commands use [`pack_to_file`], which checks
//! and repairs models first.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::componentize::is_passthrough;
use super::contents::{self, ContentsError};
use super::extras::{self, ExtrasError};
use super::layout::{self, Extra, LayoutError, MANIFEST_SECTION, MODEL_SECTION_PREFIX};
use super::lineage::{self, Derivation, Evaluation, How};
use super::manifest::{
    Card, Encoding, FunctionSpec, MANIFEST_FORMAT, Manifest, ManifestError, ModelSpec,
    RequestedLimits, TypeSpec,
};
use super::names::{GraphName, Licence};
use super::profiled::{self, OtherProfile};
use super::report::Reported;
use super::shape::{Shape, ShapeError};
use super::weights;
use hospes_core::backend::{BackendKind, Device};
use hospes_core::id::{Digest, Hasher, ModelLabel};
use hospes_decoder::{Config, DecoderRefused};
use hospes_evidence::Profile;
use hospes_onnx::{CureError, Interface, ModelRefused, Told};

/// Why a bundle could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("the component cannot be packed")]
    Layout(#[from] LayoutError),
    #[error(
        "the component already holds `hospes:` sections: pack the component that the bundle was made from"
    )]
    AlreadyBundle,
    #[error("the component cannot be read")]
    Shape(#[from] ShapeError),
    #[error("the bundle's description is refused")]
    Manifest(#[from] ManifestError),
    #[error("the description and the component do not fit together")]
    Contents(#[from] ContentsError),
    #[error("what is said about the model's origin is refused")]
    Extras(#[from] ExtrasError),
    #[error("cannot read model `{model}` from `{}`", path.display())]
    Read {
        model: GraphName,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("model `{model}` would be refused by hosts")]
    Model { model: GraphName, source: ModelRefused },
    #[error("model `{model}` would be refused by hosts")]
    Decoder { model: GraphName, source: Box<DecoderRefused> },
    #[error("model `{model}` cannot be packed as it is")]
    Cure { model: GraphName, source: CureError },
    #[error(
        "a report is about the model {measured}, which is not in the bundle, nor does `derived_from` list it: evaluate the model that you pack"
    )]
    OtherModelMeasured { measured: Digest },
    #[error(transparent)]
    OtherProfile(#[from] OtherProfile),
    #[error("cannot write the bundle")]
    Write(#[source] io::Error),
    #[error(
        "model `{model}` has digest {found}, but {pinned} is pinned: fetch the pinned file, or change the pin"
    )]
    Pin { model: GraphName, pinned: Digest, found: Digest },
    #[error("model `{model}` changed while it was packed: pack again")]
    Moved { model: GraphName },
    #[error("model `{model}` is empty")]
    EmptyModel { model: GraphName },
    #[error("model `{model}` has {bytes} bytes, more than a section of 4 GiB can hold")]
    ModelTooLarge { model: GraphName, bytes: u64 },
}

/// A publisher's description of a bundle. The rest of the manifest follows from the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub name: ModelLabel,
    pub version: semver::Version,
    pub licence: Licence,
    /// One line of text.
    pub summary: String,
    pub card: Card,
    pub functions: Vec<FunctionSpec>,
    pub types: Vec<TypeSpec>,
    pub limits: RequestedLimits,
    pub origin: Origin,
}

/// Where a bundle's models come from, and how good they are. Empty if nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The latest step first.
    pub derived_from: Vec<Derivation>,
    /// Figures that come without a report.
    pub evaluations: Vec<Evaluation>,
    /// Reports. The figures about a model that the bundle's was made from are left out.
    pub reports: Vec<Reported>,
    /// The envelope that [`Training::sign`](super::provenance::Training::sign) made.
    pub provenance: Option<Bytes>,
    /// The JSON of the profile of held-out data.
    pub profile: Option<Bytes>,
    /// The publisher's `README.md`, whole.
    pub card: Option<Bytes>,
}

impl Origin {
    fn extra(&self, extra: Extra) -> Option<&[u8]> {
        let bytes = match extra {
            Extra::Provenance => &self.provenance,
            Extra::Profile => &self.profile,
            Extra::Card => &self.card,
        };
        bytes.as_deref()
    }
}

/// A model to pack.
#[derive(Debug, Clone)]
pub struct ModelInput {
    pub name: GraphName,
    pub encoding: Encoding,
    pub batch_axis: Option<u32>,
    pub device: Device,
    pub backend: Option<BackendKind>,
    /// The expected digest of the weights.
    pub pin: Option<Digest>,
    pub source: Source,
}

/// The source of the weights.
#[derive(Debug, Clone)]
pub enum Source {
    Bytes(Bytes),
    File(PathBuf),
}

/// Writes an unsigned bundle to `out` and returns its manifest.
///
/// # Errors
/// If the inputs are invalid or cannot be read, or `out` cannot be written. `out` may then contain part of a bundle.
pub fn pack(
    component: &[u8],
    description: Description,
    models: &[ModelInput],
    out: &mut impl Write,
) -> Result<Manifest, PackError> {
    if layout::has_own_sections(component)? {
        return Err(PackError::AlreadyBundle);
    }
    let origin = description.origin;
    let mut manifest = Manifest {
        format: MANIFEST_FORMAT,
        name: description.name,
        version: description.version,
        publisher: None,
        licence: description.licence,
        summary: description.summary,
        card: description.card,
        functions: description.functions,
        types: description.types,
        models: models.iter().map(measure).collect::<Result<_, _>>()?,
        capabilities: Vec::new(),
        limits: description.limits,
        derived_from: origin.derived_from.clone(),
        evaluations: Vec::new(),
    };
    manifest.evaluations = evaluations(&origin, &manifest)?;
    let json = manifest.to_json()?;
    contents::check_functions(&manifest, &Shape::read(component)?)?;
    extras::check(|extra| origin.extra(extra), &manifest)?;
    out.write_all(component).map_err(PackError::Write)?;
    write_small_section(out, MANIFEST_SECTION, &json)?;
    for (input, spec) in models.iter().zip(&manifest.models) {
        write_model(out, input, spec)?;
    }
    for extra in Extra::ALL {
        if let Some(bytes) = origin.extra(extra) {
            write_small_section(out, extra.section(), bytes)?;
        }
    }
    Ok(manifest)
}

/// The figures about the bundle's own models: those of reports, then those that come without one.
fn evaluations(origin: &Origin, manifest: &Manifest) -> Result<Vec<Evaluation>, PackError> {
    let mut found = Vec::new();
    for Reported { evaluations, model, .. } in &origin.reports {
        match model {
            Some(measured) if !lineage::is_packed(*measured, manifest) => {
                if !lineage::is_ancestor(*measured, manifest) {
                    return Err(PackError::OtherModelMeasured { measured: *measured });
                }
            }
            Some(_) | None => found.extend(evaluations.iter().cloned()),
        }
    }
    found.extend(origin.evaluations.iter().cloned());
    Ok(found)
}

/// The result of [`pack_to_file`].
#[derive(Debug)]
pub struct Packed {
    pub manifest: Manifest,
    /// The repairs of models, one line each.
    pub cures: Vec<String>,
    /// What callers give each model and get, in the manifest's order.
    pub interfaces: Vec<Interface>,
    /// What each model says of its numbers, in the manifest's order.
    pub told: Vec<Told>,
    /// The config of each decoder, in the manifest's order; `None` for other models.
    pub decoders: Vec<Option<Config>>,
    /// What of reports and a README was left out, one line each.
    pub notes: Vec<String>,
}

/// Packs into a file, which appears complete or not at all. Repairs models that hosts would reject, if possible: embeds external weights,
/// and turns maps of probabilities into tensors.
///
/// # Errors
/// As [`pack`], and [`PackError::Model`] or [`PackError::Cure`] if a model cannot be repaired.
pub fn pack_to_file(
    component: &[u8],
    mut description: Description,
    models: &[ModelInput],
    path: &Path,
) -> Result<Packed, PackError> {
    let ready = models.iter().map(weights::ready).collect::<Result<Vec<_>, _>>()?;
    let cures = ready.iter().flat_map(|model| model.notes.iter().cloned()).collect();
    let interfaces: Vec<Interface> = ready.iter().map(|model| model.interface.clone()).collect();
    let told = ready.iter().map(|model| model.told.clone()).collect();
    let decoders = ready.iter().map(|model| model.decoder.clone()).collect();
    // What a plugin's function takes and answers need not be its models'.
    if let ([interface], Some(profile)) = (&interfaces[..], &description.origin.profile)
        && is_passthrough(&Digest::of(component))
        && let Ok(profile) = serde_json::from_slice::<Profile>(profile)
    {
        profiled::check(&profile, interface)?;
    }
    // A proof of the training names the file that was trained, not the repaired one.
    let repaired = ready.iter().filter_map(|model| model.repaired).map(|before| Derivation {
        bundle: None,
        model: Some(before),
        how: How::Repaired,
    });
    description.origin.derived_from.splice(0..0, repaired);
    // The publisher decides, then the model.
    let models = ready.into_iter().map(|model| ModelInput {
        backend: model.input.backend.or_else(|| BackendKind::named(model.told.backend.as_deref()?)),
        ..model.input
    });
    let models: Vec<_> = models.collect();
    let measured: Vec<_> =
        description.origin.reports.iter().filter_map(|report| report.model).collect();
    let manifest = super::write_file(
        path,
        super::READABLE,
        |out| pack(component, description, &models, out),
        PackError::Write,
    )?;
    let before = measured.into_iter().filter(|one| !lineage::is_packed(*one, &manifest));
    let note = |model: Digest| {
        format!(
            "the report about {model}, which this model was made from, is left out: evaluate this one"
        )
    };
    Ok(Packed { notes: before.map(note).collect(), manifest, cures, interfaces, told, decoders })
}

/// Digest and size of a model, as the manifest lists them.
fn measure(input: &ModelInput) -> Result<ModelSpec, PackError> {
    let (found, bytes) = copy(input, &mut io::sink())?;
    if let Some(pinned) = input.pin.filter(|pinned| *pinned != found) {
        return Err(PackError::Pin { model: input.name.clone(), pinned, found });
    }
    if bytes == 0 {
        return Err(PackError::EmptyModel { model: input.name.clone() });
    }
    Ok(ModelSpec {
        name: input.name.clone(),
        encoding: input.encoding,
        sha256: found,
        bytes,
        batch_axis: input.batch_axis,
        device: input.device,
        backend: input.backend,
    })
}

fn write_model(
    out: &mut impl Write,
    input: &ModelInput,
    spec: &ModelSpec,
) -> Result<(), PackError> {
    let section = format!("{MODEL_SECTION_PREFIX}{}", spec.name);
    layout::write_header(out, &section, spec.bytes)
        .ok_or(PackError::ModelTooLarge { model: spec.name.clone(), bytes: spec.bytes })?
        .map_err(PackError::Write)?;
    if copy(input, out)? != (spec.sha256, spec.bytes) {
        return Err(PackError::Moved { model: spec.name.clone() });
    }
    Ok(())
}

pub(super) fn write_small_section(
    out: &mut impl Write,
    name: &str,
    payload: &[u8],
) -> Result<(), PackError> {
    layout::write_header(out, name, payload.len() as u64)
        .expect("invariant: all sections but weights are bounded far below 4 GiB")
        .and_then(|()| out.write_all(payload))
        .map_err(PackError::Write)
}

/// Copies a model to `out`. Returns its digest and the number of bytes.
fn copy(input: &ModelInput, out: &mut impl Write) -> Result<(Digest, u64), PackError> {
    let path = match &input.source {
        Source::Bytes(bytes) => {
            out.write_all(bytes).map_err(PackError::Write)?;
            return Ok((Digest::of(bytes), bytes.len() as u64));
        }
        Source::File(path) => path,
    };
    let unreadable =
        |source| PackError::Read { model: input.name.clone(), path: path.clone(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut buffer = vec![0; COPY_BYTES];
    let (mut hasher, mut total) = (Hasher::default(), 0);
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            return Ok((hasher.finish(), total));
        }
        let part = buffer.get(..count).unwrap_or_default();
        hasher.update(part);
        out.write_all(part).map_err(PackError::Write)?;
        total += count as u64;
    }
}

/// Size of the copy buffer.
const COPY_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn packed(models: &[ModelInput]) -> Result<Vec<u8>, PackError> {
        let mut out = Vec::new();
        pack(&sample::component(), sample::description(), models, &mut out).map(|_| out)
    }

    #[test]
    fn the_same_inputs_give_the_same_bytes_from_memory_and_from_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("any.onnx");
        let weights = [sample::ONNX, b"\x32\x80\x80\x41", &vec![b' '; 65 << 14][..]].concat();
        assert!(weights.len() > COPY_BYTES);
        std::fs::write(&path, &weights).expect("a file");
        let from_file = ModelInput { source: Source::File(path), ..sample::model("m", &weights) };
        let first = packed(&[sample::model("m", &weights)]).expect("packed");
        assert_eq!(first, packed(std::slice::from_ref(&from_file)).expect("packed"));
        let target = directory.path().join("out.wasm");
        pack_to_file(&sample::component(), sample::description(), &[from_file], &target)
            .expect("packed");
        assert_eq!(first, std::fs::read(target).expect("the bundle"));
    }

    #[test]
    fn a_bundle_is_still_a_component() {
        let bundle = packed(&[sample::model("m", b"weights")]).expect("packed");
        let shape = Shape::read(&bundle).expect("a component");
        assert_eq!(shape, Shape::read(&sample::component()).expect("a component"));
    }

    #[test]
    fn a_pin_that_does_not_match_is_refused() {
        let pin = Some(Digest::of(b"other"));
        let model = ModelInput { pin, ..sample::model("m", b"weights") };
        assert!(matches!(packed(&[model]), Err(PackError::Pin { .. })));
    }

    #[test]
    fn bad_inputs_are_refused() {
        let missing = Source::File("does/not/exist.onnx".into());
        let missing = ModelInput { source: missing, ..sample::model("m", b"") };
        assert!(matches!(packed(&[missing]), Err(PackError::Read { .. })));
        assert!(matches!(packed(&[sample::model("m", b"")]), Err(PackError::EmptyModel { .. })));
        let twice = [sample::model("m", b"1"), sample::model("m", b"2")];
        assert!(matches!(
            packed(&twice),
            Err(PackError::Manifest(ManifestError::Duplicate { .. }))
        ));
        let bundle = packed(&[]).expect("packed");
        let again = pack(&bundle, sample::description(), &[], &mut Vec::new());
        assert!(matches!(again, Err(PackError::AlreadyBundle)));
        let mut description = sample::description();
        description.functions[0].export = "absent".parse().expect("an export");
        let absent = pack(&sample::component(), description, &[], &mut Vec::new());
        assert!(matches!(absent, Err(PackError::Contents(ContentsError::FunctionMissing { .. }))));
        let module = wat::parse_str("(module)").expect("text");
        let module = pack(&module, sample::description(), &[], &mut Vec::new());
        assert!(matches!(module, Err(PackError::Layout(LayoutError::CoreModule))));
    }

    #[test]
    fn a_model_that_every_host_would_refuse_is_refused_when_it_is_packed() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("out.wasm");
        let models = [sample::model("m", b"not a model")];
        let refused = pack_to_file(&sample::component(), sample::description(), &models, &target);
        assert!(matches!(refused, Err(PackError::Model { .. })), "{refused:?}");
    }

    #[test]
    fn a_file_that_cannot_be_packed_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("out.wasm");
        let models = [sample::model("m", b"")];
        pack_to_file(&sample::component(), sample::description(), &models, &target)
            .expect_err("an empty model");
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
