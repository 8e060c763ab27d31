//! The names that a model has for its classes.

use bytes::Bytes;
use hospes_data::CLASSES_MAX;
use hospes_onnx::Model;

/// The metadata of ONNX models with a JSON list of texts: the classes in the order of the scores. `hospes train` writes it.
const KEY: &str = "hospes.classes";

/// The names of a model's classes, if it has some.
pub fn class_names(model: &Bytes) -> Option<Vec<String>> {
    let model = Model::read(model.clone()).ok()?;
    let names: Vec<String> = serde_json::from_str(model.names(KEY)?).ok()?;
    (1..=CLASSES_MAX).contains(&names.len()).then_some(names)
}

#[cfg(test)]
mod tests {
    use hospes_onnx::model::Graph;

    use super::*;

    #[test]
    fn a_model_without_sound_names_has_none() {
        let of = |value: Option<&str>| {
            let mut model = Model::new(Graph::new("g"), 17);
            if let Some(value) = value {
                model.set_metadata(KEY, value);
            }
            class_names(&model.write().expect("written").into())
        };
        assert_eq!(of(Some(r#"["cat", "dog"]"#)), Some(vec!["cat".into(), "dog".into()]));
        for value in [None, Some("cat, dog"), Some("[]"), Some("[1, 2]")] {
            assert_eq!(of(value), None, "{value:?}");
        }
        assert_eq!(class_names(&Bytes::from_static(b"no model")), None);
    }
}
