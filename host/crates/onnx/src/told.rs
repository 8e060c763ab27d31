//! What a model says of itself in its metadata: the names of its classes, and how its columns code texts (`hospes train` writes both), and the
//! backend that computes it best (`hospes optimize`). Other crates read and write these keys here only.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::Model;

/// The key of a JSON list of texts: the classes in the order of the scores.
const CLASSES: &str = "hospes.classes";

/// The key of a JSON list of columns, in the order of the input.
const COLUMNS: &str = "hospes.columns";

/// The key of the name of a backend.
const BACKEND: &str = "hospes.backend";

/// Most classes or columns. A model that lists more is read as one that lists none: no data set has so many.
const NAMES_MAX: usize = 16_384;

/// What a model says of itself. Empty if it says nothing that can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The classes, in the order of the scores.
    pub classes: Vec<String>,
    /// The columns, in the order of the input. No two have the same name.
    pub columns: Vec<ToldColumn>,
    /// The name of the backend that computes it best.
    pub backend: Option<String>,
}

/// A column of a model's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldColumn {
    pub name: String,
    /// The texts that it may have: the model takes the place of one, from 0. Empty if it is a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

impl Told {
    /// What a model in memory says.
    pub fn of(model: &Model) -> Self {
        let mut columns: Vec<ToldColumn> = list(model, COLUMNS);
        // Otherwise a short list could ask for one column many times.
        let names: HashSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        if names.len() != columns.len() {
            columns.clear();
        }
        let backend = model.metadata(BACKEND).map(str::to_owned);
        Self { classes: list(model, CLASSES), columns, backend }
    }

    /// What the bytes of a model say.
    pub fn of_bytes(bytes: &Bytes) -> Self {
        Model::read(bytes.clone()).map(|model| Self::of(&model)).unwrap_or_default()
    }

    /// Writes it into a model. What is empty is not written.
    pub fn write(&self, model: &mut Model) {
        let Self { classes, columns, backend } = self;
        let json = |list: Result<String, serde_json::Error>| list.expect("invariant: texts only");
        if !classes.is_empty() {
            model.set_metadata(CLASSES, json(serde_json::to_string(classes)));
        }
        if !columns.is_empty() {
            model.set_metadata(COLUMNS, json(serde_json::to_string(columns)));
        }
        if let Some(backend) = backend {
            model.set_metadata(BACKEND, backend);
        }
    }

    /// Whether it says nothing of its numbers.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.columns.is_empty()
    }

    /// The names of the columns that are texts.
    pub fn text_columns(&self) -> Vec<String> {
        let texts = self.columns.iter().filter(|column| !column.categories.is_empty());
        texts.map(|column| column.name.clone()).collect()
    }
}

fn list<T: for<'de> Deserialize<'de>>(model: &Model, key: &str) -> Vec<T> {
    let text = model.names(key).unwrap_or_default();
    let list: Vec<T> = serde_json::from_str(text).unwrap_or_default();
    if list.len() > NAMES_MAX { Vec::new() } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Graph;

    fn told(key: &str, value: &str) -> Told {
        let mut model = Model::new(Graph::new("g"), 17);
        model.set_metadata(key, value);
        Told::of_bytes(&model.write().expect("written").into())
    }

    #[test]
    fn what_a_model_says_is_read_back_as_it_was_written() {
        let column = |name: &str, categories: &[&str]| ToldColumn {
            name: name.into(),
            categories: categories.iter().map(|text| (*text).into()).collect(),
        };
        let said = Told {
            classes: vec!["cat".into(), "dog".into()],
            columns: vec![column("size", &[]), column("colour", &["blue", "red"])],
            backend: Some("tract".into()),
        };
        let mut model = Model::new(Graph::new("g"), 17);
        said.write(&mut model);
        assert_eq!(Told::of_bytes(&model.write().expect("written").into()), said);
        assert_eq!(said.text_columns(), ["colour"]);
    }

    #[test]
    fn lists_that_are_not_sound_say_nothing() {
        assert_eq!(told(CLASSES, r#"["cat"]"#).classes, ["cat"]);
        let many = serde_json::json!(vec!["a"; NAMES_MAX + 1]).to_string();
        for value in ["cat, dog", "[]", "[1, 2]", &many] {
            assert_eq!(told(CLASSES, value), Told::default(), "{value:.40}");
        }
        assert_eq!(told(COLUMNS, r#"[{"name": "size"}]"#).columns[0].name, "size");
        for value in
            ["size", "[]", r#"["size"]"#, r#"{"name": "a"}"#, r#"[{"name": "a"}, {"name": "a"}]"#]
        {
            assert_eq!(told(COLUMNS, value), Told::default(), "{value}");
        }
        assert_eq!(Told::of_bytes(&Bytes::from_static(b"no model")), Told::default());
    }
}
