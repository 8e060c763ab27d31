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
use crate::training::report::{Embedded, Read};
use hospes_cli::Context;
use hospes_cli::client::{Client, Post};
use hospes_cli::failure::{During as _, Failure};
use hospes_wire::models::Description;

/// Texts of one call.
const TEXTS_AT_ONCE: usize = 64;

/// Most numbers of a vector. More would be no embedding, and the table would not fit into memory.
const WIDTH_MAX: usize = 8_192;

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
        let (name, version) = model.split_once('@').unzip();
        let name = name.unwrap_or(model);
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
                missing.push(Missing { file: file.clone(), texts, labels });
            }
            tables.insert(channel.clone(), file);
        }
        self.tell(model, &missing)?;
        let asked = format!("{name}@{}", described.version);
        for Missing { file, texts, labels } in missing {
            let vectors = self.vectors(&client, &asked, &texts)?;
            super::write(&file, table(&vectors, target, &labels).as_bytes())?;
        }
        let embedded = Embedded {
            model: name.to_owned(),
            version: described.version,
            sha256: described.digest,
        };
        Ok(Some((tables, embedded)))
    }

    /// Says how many calls will be counted, before the first one.
    fn tell(&self, model: &str, missing: &[Missing]) -> Result<(), Failure> {
        let rows: usize = missing.iter().map(|set| set.texts.len()).sum();
        if rows == 0 {
            return Ok(());
        }
        let calls: usize = missing.iter().map(|set| set.texts.len().div_ceil(TEXTS_AT_ONCE)).sum();
        let text =
            format!("{rows} texts are {calls} calls of {model}, each counted under your agreement");
        if self.is_told {
            self.context.screen.note(&text);
            return Ok(());
        }
        self.context.screen.confirm(&format!("{text}. Call it?"))
    }

    fn vectors(
        &self,
        client: &Client,
        model: &str,
        texts: &[String],
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let progress = self.context.screen.part_bar("embedding texts");
        let mut vectors: Vec<Vec<f32>> = Vec::with_capacity(texts.len());
        for (at, texts_now) in texts.chunks(TEXTS_AT_ONCE).enumerate() {
            let (first, last) = (at * TEXTS_AT_ONCE + 1, at * TEXTS_AT_ONCE + texts_now.len());
            let body = json!({ "model": model, "input": texts_now });
            let reply = client.post("/v1/embeddings", Post::json(&body));
            let reply = reply.during(|| format!("texts {first} to {last}"))?;
            let (_, response): (_, Response) = reply.document()?;
            let mut found: Vec<Vector> = response.data;
            found.sort_by_key(|vector| vector.index);
            let width = vectors.first().or(found.first().map(|first| &first.embedding));
            let width = width.map_or(0, Vec::len);
            let fits = |vector: &Vector| {
                vector.embedding.len() == width && vector.embedding.iter().all(|n| n.is_finite())
            };
            if found.len() != texts_now.len()
                || !(1..=WIDTH_MAX).contains(&width)
                || !found.iter().all(fits)
            {
                let message = format!(
                    "`{model}` gave no vector of {width} finite numbers for each of texts {first} to {last}"
                );
                return Err(Failure::new(message).fix(format!(
                    "use a model that gives as many numbers for every text, at most {WIDTH_MAX}"
                )));
            }
            vectors.extend(found.into_iter().map(|vector| vector.embedding));
            progress.part(last as f64 / texts.len() as f64);
        }
        Ok(vectors)
    }
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
        let has: Vec<String> =
            read.columns().iter().take(20).map(|column| format!("`{}`", column.name)).collect();
        let message =
            format!("`{}` has no column `{name}`: it has {}", path.display(), has.join(", "));
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
    for at in 0..width {
        let _ = write!(table, "e{at},");
    }
    let _ = writeln!(table, "{}", quoted(target));
    for (vector, label) in vectors.iter().zip(labels) {
        for number in vector {
            // The shortest text that is read back as the same number.
            let _ = write!(table, "{number},");
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
