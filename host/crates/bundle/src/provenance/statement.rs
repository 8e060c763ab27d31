//! The JSON of a statement: in-toto Statement v1, SLSA Provenance v1, and what `urn:hospes:train:1` means by their free members.
//!
//! What is ours (`externalParameters`, our annotations) is strict. The rest ignores members that it does not know, as in-toto's parsing
//! rules demand. A dependency without our annotation is somebody else's addition and is passed over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::listing::{Listing, PARTS_MAX, Part};
use super::{
    Artifact, BUILD_TYPE, Base, CODE_MAX, Code, Content, DATA_SETS_MAX, DataSet, PARAMETERS_MAX,
    PROVENANCE_TEXT_BYTES_MAX, ProvenanceError, Trainer, Training, shown,
};
use hospes_core::id::{Digest, Party, unhex};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// The claimed level, in the words of SLSA's own summaries.
const LEVEL: &str = "SLSA_BUILD_LEVEL_1";
const BASIS: &str = "The signer ran the training and says so. Nobody else watched it.";

/// Most of a payload that the lists of folders' parts may take, in bytes of text.
const LISTED_BYTES_MAX: usize = 96 << 10;

/// Most dependencies, those of others included.
const DEPENDENCIES_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: External,
    #[serde(default)]
    internal_parameters: BTreeMap<String, Value>,
    #[serde(default)]
    resolved_dependencies: Vec<Resource>,
}

/// What a person who repeats the training must give.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct External {
    recipe: Resource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    parameters: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct RunDetails {
    builder: Builder,
    metadata: Metadata,
    #[serde(default)]
    byproducts: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Builder {
    id: String,
    version: BTreeMap<String, String>,
    /// An extension, named as SLSA asks: by vendor and member.
    hospes_level: String,
    #[serde(default)]
    hospes_basis: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    started_on: Timestamp,
    finished_on: Timestamp,
}

/// An in-toto ResourceDescriptor.
#[derive(Clone, Serialize, Deserialize, Default)]
struct Resource {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
}

/// Ours. `contentSize` and `license` are Croissant's names (version 1.1).
#[derive(Clone, Serialize, Deserialize, Default, PartialEq)]
struct Annotations {
    #[serde(rename = "hospes_kind", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(rename = "contentSize", default, skip_serializing_if = "Option::is_none")]
    content_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    #[serde(rename = "hospes_path", default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(rename = "hospes_files", default, skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(rename = "hospes_parts", default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
}

impl Annotations {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

const SHA256: &str = "sha256";
const DIR_HASH: &str = "dirHash";
const GIT_COMMIT: &str = "gitCommit";
const EVENTS: &str = "events";
const REPORT: &str = "report";

/// The payload for this training, run by `signer`.
pub(super) fn write(training: &Training, signer: Party) -> Result<Vec<u8>, ProvenanceError> {
    check(training)?;
    let artifact = |kind: &str, file: &Artifact| Resource::of_artifact(kind, file);
    let Training { model, report, events, recipe, seed, data, .. } = training;
    let mut dependencies: Vec<Resource> = data.iter().map(Resource::of_data).collect();
    dependencies.extend(training.code.iter().map(Resource::of_code));
    dependencies.extend(training.lock.iter().map(|lock| artifact("lock", lock)));
    dependencies.extend(training.base.iter().map(Resource::of_base));
    shorten(&mut dependencies);
    let (report, events) = (
        report.iter().map(|one| artifact(REPORT, one)),
        events.iter().map(|one| artifact(EVENTS, one)),
    );
    let statement = Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: [artifact("model", model)].into_iter().chain(report.clone()).collect(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: External {
                    recipe: artifact("recipe", recipe),
                    seed: *seed,
                    parameters: training.parameters.clone(),
                },
                internal_parameters: training.environment.clone(),
                resolved_dependencies: dependencies,
            },
            run_details: RunDetails {
                builder: Builder {
                    id: signer.to_string(),
                    version: [(training.trainer.name.clone(), training.trainer.version.clone())]
                        .into(),
                    hospes_level: LEVEL.to_owned(),
                    hospes_basis: BASIS.to_owned(),
                },
                metadata: Metadata { started_on: training.started, finished_on: training.finished },
                byproducts: events.chain(report).collect(),
            },
        },
    };
    serde_json::to_vec(&statement).map_err(ProvenanceError::Statement)
}

/// The training that a payload describes, signed by `signer`.
pub(super) fn read(payload: &[u8], signer: Party) -> Result<Training, ProvenanceError> {
    let statement: Statement =
        serde_json::from_slice(payload).map_err(ProvenanceError::Statement)?;
    let Predicate { build_definition: build, run_details: run } = statement.predicate;
    for (member, found, expected) in [
        ("_type", &statement.kind, STATEMENT_TYPE),
        ("predicateType", &statement.predicate_type, PREDICATE_TYPE),
        ("buildType", &build.build_type, BUILD_TYPE),
        ("builder.hospes_level", &run.builder.hospes_level, LEVEL),
    ] {
        if found != expected {
            return Err(ProvenanceError::Kind { member, found: shown(found), expected });
        }
    }
    if run.builder.id != signer.to_string() {
        return Err(ProvenanceError::Builder { found: shown(&run.builder.id), signer });
    }
    at_most("subjects", statement.subject.len(), DEPENDENCIES_MAX)?;
    at_most("byproducts", run.byproducts.len(), DEPENDENCIES_MAX)?;
    at_most("dependencies", build.resolved_dependencies.len(), DEPENDENCIES_MAX)?;
    let trainer = run.builder.version.into_iter().next();
    let (name, version) = trainer.ok_or(ProvenanceError::Missing { member: "builder.version" })?;
    let mut training = Training {
        model: of_kind(&statement.subject, "model")?
            .ok_or(ProvenanceError::Missing { member: "subject: a model" })?,
        report: of_kind(&statement.subject, REPORT)?,
        events: of_kind(&run.byproducts, EVENTS)?,
        recipe: build.external_parameters.recipe.artifact()?,
        seed: build.external_parameters.seed,
        parameters: build.external_parameters.parameters,
        environment: build.internal_parameters,
        data: Vec::new(),
        code: Vec::new(),
        lock: of_kind(&build.resolved_dependencies, "lock")?,
        base: None,
        trainer: Trainer { name, version },
        started: run.metadata.started_on,
        finished: run.metadata.finished_on,
    };
    for resource in build.resolved_dependencies {
        match resource.annotations.kind.as_deref() {
            Some("data") => training.data.push(resource.data()?),
            Some("code") => training.code.push(resource.code()?),
            Some("base") => {
                at_most("bases", 1 + usize::from(training.base.is_some()), 1)?;
                training.base = Some(resource.base()?);
            }
            Some(_) | None => {}
        }
    }
    check(&training)?;
    Ok(training)
}

fn of_kind(resources: &[Resource], kind: &str) -> Result<Option<Artifact>, ProvenanceError> {
    let mut found = resources.iter().filter(|one| one.annotations.kind.as_deref() == Some(kind));
    found.next().map(Resource::artifact).transpose()
}

/// Drops the parts of folders with unusual paths, and of the longest until the rest fits. The digests of the folders stay.
fn shorten(resources: &mut [Resource]) {
    /// What a digest and the names of the members take.
    const PART_BYTES: usize = 112;
    let size = |resource: &Resource| -> usize {
        resource.annotations.parts.iter().map(|part| part.path.len() + PART_BYTES).sum()
    };
    let plain = |part: &Part| check_text("parts.path", Some(&part.path)).is_ok();
    for resource in resources.iter_mut().filter(|one| !one.annotations.parts.iter().all(plain)) {
        resource.annotations.parts.clear();
    }
    while resources.iter().map(size).sum::<usize>() > LISTED_BYTES_MAX {
        let Some(longest) = resources.iter_mut().max_by_key(|one| size(one)) else { return };
        longest.annotations.parts.clear();
    }
}

impl Resource {
    fn of_artifact(kind: &str, artifact: &Artifact) -> Self {
        let Artifact { name, sha256, bytes } = artifact;
        Self {
            name: name.clone(),
            digest: [(SHA256.to_owned(), sha256.hex())].into(),
            annotations: Annotations {
                kind: Some(kind.to_owned()),
                content_size: Some(*bytes),
                ..Annotations::default()
            },
            ..Self::default()
        }
    }

    fn of_content(kind: &str, path: Option<&String>, content: &Content) -> Self {
        let mut resource = Self::default();
        let annotations = &mut resource.annotations;
        annotations.kind = Some(kind.to_owned());
        annotations.path = path.cloned();
        annotations.content_size = Some(content.bytes());
        let algorithm = match content {
            Content::File { .. } => SHA256,
            Content::Folder(listing) => {
                annotations.files = Some(listing.files);
                annotations.parts.clone_from(&listing.parts);
                DIR_HASH
            }
        };
        resource.digest = [(algorithm.to_owned(), content.digest().hex())].into();
        resource
    }

    fn of_data(data: &DataSet) -> Self {
        let mut resource = Self::of_content("data", data.path.as_ref(), &data.content);
        resource.name.clone_from(&data.name);
        resource.annotations.license.clone_from(&data.licence);
        resource
    }

    fn of_code(code: &Code) -> Self {
        match code {
            Code::Git { commit, uri } => Self {
                name: "code".to_owned(),
                uri: uri.clone(),
                digest: [(GIT_COMMIT.to_owned(), commit.clone())].into(),
                annotations: Annotations {
                    kind: Some("code".to_owned()),
                    ..Annotations::default()
                },
            },
            Code::Files { path, content } => {
                Self { name: path.clone(), ..Self::of_content("code", None, content) }
            }
        }
    }

    fn of_base(base: &Base) -> Self {
        Self {
            name: base.name.clone(),
            digest: [(SHA256.to_owned(), base.sha256.hex())].into(),
            annotations: Annotations { kind: Some("base".to_owned()), ..Annotations::default() },
            ..Self::default()
        }
    }

    /// Its digest in this algorithm.
    fn digest(&self, algorithm: &str) -> Option<Digest> {
        let hex = self.digest.get(algorithm)?;
        format!("sha256:{hex}").parse().ok()
    }

    fn sha256(&self) -> Result<Digest, ProvenanceError> {
        let missing = || ProvenanceError::Digest { name: shown(&self.name), expected: SHA256 };
        self.digest(SHA256).ok_or_else(missing)
    }

    fn artifact(&self) -> Result<Artifact, ProvenanceError> {
        let bytes = self.annotations.content_size.unwrap_or_default();
        Ok(Artifact { name: self.name.clone(), sha256: self.sha256()?, bytes })
    }

    fn content(&self) -> Result<Content, ProvenanceError> {
        let bytes = self.annotations.content_size.unwrap_or_default();
        if let Some(sha256) = self.digest(SHA256) {
            return Ok(Content::File { sha256, bytes });
        }
        let missing = || ProvenanceError::Digest {
            name: shown(&self.name),
            expected: "`sha256` or `dirHash`",
        };
        let digest = self.digest(DIR_HASH).ok_or_else(missing)?;
        let (files, parts) = (self.annotations.files.unwrap_or_default(), &self.annotations.parts);
        at_most("parts of a folder", parts.len(), PARTS_MAX)?;
        parts.iter().try_for_each(|part| check_text("parts.path", Some(&part.path)))?;
        Ok(Content::Folder(Listing { digest, bytes, files, parts: parts.clone() }))
    }

    fn data(self) -> Result<DataSet, ProvenanceError> {
        let content = self.content()?;
        let Annotations { path, license: licence, .. } = self.annotations;
        Ok(DataSet { name: self.name, path, content, licence })
    }

    fn code(self) -> Result<Code, ProvenanceError> {
        match self.digest.get(GIT_COMMIT) {
            Some(commit) if is_commit(commit) => {
                Ok(Code::Git { commit: commit.clone(), uri: self.uri })
            }
            Some(_) => {
                Err(ProvenanceError::Digest { name: shown(&self.name), expected: GIT_COMMIT })
            }
            None => Ok(Code::Files { content: self.content()?, path: self.name }),
        }
    }

    fn base(self) -> Result<Base, ProvenanceError> {
        Ok(Base { sha256: self.sha256()?, name: self.name })
    }
}

/// Whether this names a Git commit, by SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    unhex::<20>(text).is_some() || unhex::<32>(text).is_some()
}

/// Checks what the types do not: that texts are short and plain, and lists bounded.
fn check(training: &Training) -> Result<(), ProvenanceError> {
    at_most("data sets", training.data.len(), DATA_SETS_MAX)?;
    at_most("parameters", training.parameters.len(), PARAMETERS_MAX)?;
    at_most("parameters", training.environment.len(), PARAMETERS_MAX)?;
    for (member, artifact) in [("model", Some(&training.model)), ("recipe", Some(&training.recipe))]
        .into_iter()
        .chain([("report", training.report.as_ref()), ("events", training.events.as_ref())])
        .chain([("lock", training.lock.as_ref())])
    {
        check_text(member, artifact.map(|artifact| artifact.name.as_str()))?;
    }
    for data in &training.data {
        check_text("data.name", Some(&data.name))?;
        check_text("data.path", data.path.as_deref())?;
        check_text("data.licence", data.licence.as_deref())?;
    }
    at_most("pieces of code", training.code.len(), CODE_MAX)?;
    for code in &training.code {
        match code {
            Code::Git { commit, .. } if !is_commit(commit) => {
                return Err(ProvenanceError::Digest { name: shown(commit), expected: GIT_COMMIT });
            }
            Code::Git { uri, .. } => check_text("code.uri", uri.as_deref())?,
            Code::Files { path, .. } => check_text("code.path", Some(path))?,
        }
    }
    check_text("base.name", training.base.as_ref().map(|base| base.name.as_str()))?;
    check_text("trainer.name", Some(&training.trainer.name))?;
    check_text("trainer.version", Some(&training.trainer.version))?;
    if training.finished < training.started {
        return Err(ProvenanceError::Backwards);
    }
    Ok(())
}

fn check_text(member: &'static str, text: Option<&str>) -> Result<(), ProvenanceError> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > PROVENANCE_TEXT_BYTES_MAX {
        return Err(ProvenanceError::TextTooLong { member, bytes: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(ProvenanceError::ControlCharacter { member });
    }
    Ok(())
}

fn at_most(what: &'static str, count: usize, count_max: usize) -> Result<(), ProvenanceError> {
    if count > count_max {
        return Err(ProvenanceError::TooMany { what, count, count_max });
    }
    Ok(())
}
