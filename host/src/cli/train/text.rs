//! Texts become vectors: a published model embeds each row before the training. Every request is a call: counted under an agreement,
//! with a receipt.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::data::{self, DataSet, LabelKind, Labels, Options};
use crate::id::Digest;
use crate::tensor::DataType;
use crate::training::Native;
use crate::training::native::Predict;
use crate::training::native::published;
use crate::training::prepare;
use crate::training::report::{Embedded, Read};
use hospes_cli::Context;
use hospes_cli::client::{Client, Post};
use hospes_cli::failure::{During as _, Failure};
use hospes_wire::models::Description;

/// Texts of one call.
const TEXTS_AT_ONCE: usize = 64;

/// Most numbers of a vector. More would be no embedding, and the table would not fit into memory.
const WIDTH_MAX: usize = 8_192;

/// Most bytes that a number takes in a table.
const NUMBER_BYTES: u64 = 16;

/// The folder below the output with the vectors. It is kept, so that another run asks for nothing twice.
const FOLDER: &str = "embedded";

/// The tables that the network learns from, by channel.
type Tables = BTreeMap<String, PathBuf>;

/// The texts of a recipe.
pub(super) struct Texts<'t> {
    pub context: &'t Context,
    pub native: &'t Native,
    /// The recipe's folder, and that of the results.
    pub beside: &'t Path,
    pub out: &'t Path,
    pub data: &'t BTreeMap<String, Read>,
    /// Whether the caller has agreed to the calls already.
    pub is_told: bool,
}

/// A data set whose vectors are not there yet.
struct Missing {
    file: PathBuf,
    /// A folder for the answers so far.
    parts: PathBuf,
    texts: Vec<String>,
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct Response {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    index: usize,
    embedding: Vec<f32>,
}

impl Texts<'_> {
    /// Embeds every data set, if the recipe is of texts. Returns the tables that the network learns from, by channel.
    ///
    /// # Errors
    /// If the data have no such columns, the host refuses a call, or the caller does not agree to the calls.
    pub(super) fn embed(&self) -> Result<Option<(Tables, Embedded)>, Failure> {
        let Native { text: Some(text), target: Some(target), embeddings: Some(model), .. } =
            self.native
        else {
            return Ok(None);
        };
        let client = self.context.client()?;
        let (name, version) = published(model).ok_or_else(|| {
            Failure::new(format!("`{model}` is not the name of a published model"))
                .fix("write `publisher/model` or `publisher/model@version`")
        })?;
        let path = version.map_or_else(|| format!("/{name}"), |at| format!("/{name}@{at}"));
        let (_, described): (_, Description) = client.document(&path)?;
        let folder = self.out.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file("make", &folder, &error))?;
        let (mut tables, mut missing) = (BTreeMap::new(), Vec::new());
        for (channel, read) in self.data {
            // What the target is decides how its cells are written into the table.
            let kind = self.native.predict.map_or(String::new(), |kind| format!(" {kind:?}"));
            let of = format!("{} {} {text} {target}{kind}", read.sha256, described.digest);
            let hex = Digest::of(of.as_bytes()).hex();
            let file = folder.join(format!("{channel}-{}.csv", &hex[..16]));
            if !file.exists() {
                let (texts, labels) =
                    columns(&self.beside.join(&read.path), text, target, labels(self.native))?;
                let parts = file.with_extension("parts");
                missing.push(Missing { file: file.clone(), parts, texts, labels });
            }
            tables.insert(channel.clone(), file);
        }
        self.tell(model, &missing)?;
        let asked = format!("{name}@{}", described.version);
        for missing in missing {
            let vectors = self.vectors(&client, &asked, &missing)?;
            super::write(&missing.file, table(&vectors, target, &missing.labels).as_bytes())?;
            prepare::remove(&missing.parts)?;
        }
        let embedded = Embedded {
            model: name.to_string(),
            version: described.version,
            sha256: described.digest,
        };
        Ok(Some((tables, embedded)))
    }

    /// Says how many calls will be counted, before the first one.
    fn tell(&self, model: &str, missing: &[Missing]) -> Result<(), Failure> {
        let asked = missing.iter().map(Missing::asked);
        let (calls, rows) = asked.fold((0, 0), |(calls, rows), (c, r)| (calls + c, rows + r));
        if calls == 0 {
            return Ok(());
        }
        let text =
            format!("{rows} texts are {calls} calls of {model}, each counted under your agreement");
        if self.is_told {
            self.context.screen.note(&text);
            return Ok(());
        }
        self.context.screen.confirm(&format!("{text}. Call it?"))
    }

    /// The vectors of a data set. Each answer is kept as it comes, so that a call that fails costs no earlier one again.
    fn vectors(
        &self,
        client: &Client,
        model: &str,
        missing: &Missing,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let progress = self.context.screen.part_bar("embedding texts");
        let parts = &missing.parts;
        std::fs::create_dir_all(parts).map_err(|error| Failure::file("make", parts, &error))?;
        let mut vectors: Vec<Vec<f32>> = Vec::new();
        for (at, texts) in missing.texts.chunks(TEXTS_AT_ONCE).enumerate() {
            let path = missing.part(at);
            let found = match kept(&path, texts.len()) {
                Some(found) => found,
                None => {
                    let first = at * TEXTS_AT_ONCE + 1;
                    let found = ask(client, model, texts)
                        .during(|| format!("texts {first} to {}", first + texts.len() - 1))?;
                    let bytes = found.iter().flatten().flat_map(|number| number.to_le_bytes());
                    super::write(&path, &bytes.collect::<Vec<u8>>())?;
                    found
                }
            };
            let width = vectors.first().or(found.first()).map_or(0, Vec::len);
            if found.iter().any(|vector| vector.len() != width) {
                return Err(Failure::new(format!("`{model}` gives vectors of different lengths"))
                    .fix("use a model whose vectors all have the same length"));
            }
            let bytes = (missing.texts.len() * width) as u64 * NUMBER_BYTES;
            if bytes > data::FILE_BYTES_MAX {
                let (rows, max) = (missing.texts.len(), data::FILE_BYTES_MAX);
                let message = format!(
                    "{rows} vectors of {width} numbers would take {bytes} bytes, the limit of a table is {max}"
                );
                return Err(Failure::new(message).fix("train on fewer texts"));
            }
            vectors.extend(found);
            progress.part(vectors.len() as f64 / missing.texts.len() as f64);
        }
        Ok(vectors)
    }
}

impl Missing {
    /// The file of an answer.
    fn part(&self, at: usize) -> PathBuf {
        self.parts.join(format!("{at}.f32"))
    }

    /// How many calls are needed, and how many texts they are about.
    fn asked(&self) -> (usize, usize) {
        let chunks = self.texts.chunks(TEXTS_AT_ONCE).enumerate();
        let missing = chunks.filter(|(at, _)| !self.part(*at).exists());
        missing.fold((0, 0), |(calls, rows), (_, texts)| (calls + 1, rows + texts.len()))
    }
}

/// The vectors of an answer that an earlier run got; `None` if there is none that fits.
fn kept(path: &Path, texts: usize) -> Option<Vec<Vec<f32>>> {
    let bytes = std::fs::read(path).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let fits = rest.is_empty() && !numbers.is_empty() && numbers.len().is_multiple_of(texts);
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    fits.then(|| numbers.chunks(numbers.len() / texts).map(<[f32]>::to_vec).collect())
}

/// One call. The vectors are in the order of the texts.
fn ask(client: &Client, model: &str, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
    let body = json!({ "model": model, "input": texts });
    let reply = client.post("/v1/embeddings", Post::json(&body))?;
    // Not by way of a tree, which would take many times the bytes.
    let response: Response = serde_json::from_slice(&reply.body)
        .during(|| "the host's response has an unexpected form".into())?;
    let mut found = response.data;
    found.sort_by_key(|vector| vector.index);
    let is_sound = |(place, vector): (usize, &Vector)| {
        let numbers = &vector.embedding;
        let is_long = (1..=WIDTH_MAX).contains(&numbers.len());
        vector.index == place && is_long && numbers.iter().all(|number| number.is_finite())
    };
    if found.len() != texts.len() || !found.iter().enumerate().all(is_sound) {
        let message = format!("`{model}` gave no vector of finite numbers for each text");
        return Err(Failure::new(message)
            .fix(format!("use a model that gives at most {WIDTH_MAX} numbers for every text")));
    }
    Ok(found.into_iter().map(|vector| vector.embedding).collect())
}

/// What the target is.
fn labels(native: &Native) -> LabelKind {
    native.predict.map_or(LabelKind::Auto, |predict| match predict {
        Predict::Class => LabelKind::Classes,
        Predict::Number => LabelKind::Numbers,
    })
}

/// The texts of a data set, and what is to be predicted of each, as text.
fn columns(
    path: &Path,
    text: &str,
    target: &str,
    labels: LabelKind,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let label = Some(target.to_owned());
    let options = Options { label, labels, text: vec![text.to_owned()], ..Options::default() };
    let read = data::read(path, &options)?;
    let texts = strings(&read, path, text)?;
    if let Some(row) = texts.iter().position(|text| text.trim().is_empty()) {
        let message =
            format!("row {} of `{}` has no text in column `{text}`", row + 1, path.display());
        return Err(Failure::new(message).fix("fill it in, or take the row out"));
    }
    let labels = read.labels().map_or_else(Vec::new, |labels| match labels {
        Labels::Numbers(numbers) => numbers.iter().map(f64::to_string).collect(),
        Labels::Classes(classes) => {
            let name = |class: &u32| classes.names()[*class as usize].clone();
            classes.of().iter().map(name).collect()
        }
    });
    Ok((texts, labels))
}

fn strings(read: &DataSet, path: &Path, name: &str) -> Result<Vec<String>, Failure> {
    let column = read.column(name).ok_or_else(|| {
        let has = data::listed(read.columns().iter().map(|column| &column.name));
        let message = format!("`{}` has no column `{name}`: it has {has}", path.display());
        Failure::new(message).fix("correct `text` in the recipe")
    })?;
    if column.tensor.data_type() != DataType::Bytes {
        let message = format!("column `{name}` of `{}` is not of text", path.display());
        return Err(Failure::new(message).fix("texts are read from CSV and Parquet"));
    }
    let texts = column.tensor.strings();
    Ok(texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// The table that the network learns from: the vectors' numbers, and the target.
fn table(vectors: &[Vec<f32>], target: &str, labels: &[String]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let width = vectors.first().map_or(0, Vec::len);
    let mut table = String::new();
    // No column has the target's name.
    let prefix = if target.starts_with("embedding.") { "vector" } else { "embedding" };
    for at in 0..width {
        let _ = write!(table, "{prefix}.{at},");
    }
    let _ = writeln!(table, "{}", quoted(target));
    for (vector, label) in vectors.iter().zip(labels) {
        for number in vector {
            // The shortest text that is read back as the same number; without an exponent, the smallest would have 45 zeros.
            let _ = write!(table, "{number:e},");
        }
        let _ = writeln!(table, "{}", quoted(label));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_vectors_are_read_back_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.csv");
        let labels = ["a \"b\", c".to_owned(), "d".to_owned()];
        let vectors = [vec![0.1_f32, -3.0e-8], vec![f32::MIN_POSITIVE, 7.0]];
        std::fs::write(&path, table(&vectors, "kind", &labels)).expect("written");
        let options = Options { label: Some("kind".into()), ..Options::default() };
        let read = data::read(&path, &options).expect("valid");
        assert_eq!(read.columns().len(), 2);
        let names = read.labels().and_then(|labels| labels.classes()).expect("classes").names();
        assert_eq!(names, ["a \"b\", c", "d"]);
    }

    #[test]
    fn faults_of_texts_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "review,stars\ngood,5\n\" \",1\n").expect("written");
        let said = |text: &str| {
            columns(&path, text, "stars", LabelKind::Auto).expect_err("refused").to_string()
        };
        assert!(said("review").contains("row 2"), "{}", said("review"));
        assert!(said("text").contains("has no column `text`: it has `review`"));
    }
}
