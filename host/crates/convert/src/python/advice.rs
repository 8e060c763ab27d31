//! What to do about an export that failed, by what the exporter said.

use super::requirements;
use crate::Source;

/// What `export.py` stops with, and what to do about it. Its own text would be the model's, as far as anybody knows.
pub(super) const FIXES: [(&str, &str); 5] = [
    ("fix-rows", "give the rows as .npz, .npy or .csv"),
    ("fix-permission", "pass `--allow-pickle` if you know who made the model"),
    ("fix-estimator", "save the fitted estimator or pipeline"),
    ("fix-columns", "name the arrays of the rows as the columns of training"),
    ("fix-module", "save the module itself: `torch.save(module, FILE)`"),
];

const EXPORT_YOURSELF: &str = "call `torch.onnx.export(module, example, \"model.onnx\")` in your own code, and give that file to `hospes pack`";

/// What to do about what the exporter said. Without a Python of the user's, it ran in an environment of ours.
pub(super) fn advice(said: &str, source: Source, has_python: bool) -> String {
    let named = |(code, _): &&(&str, &str)| said.ends_with(&format!("[{code}]"));
    if let Some((_, fix)) = FIXES.iter().find(named) {
        return (*fix).to_owned();
    }
    let is_absent = said.contains("ModuleNotFoundError") || said.contains("ImportError");
    if source == Source::Torch && said.contains("Can't get attribute") {
        return format!(
            "a pickle has no code, so only modules made of parts of `torch.nn` can be loaded from one; for a class of your own, {EXPORT_YOURSELF}"
        );
    }
    if said.contains("Can't get attribute") {
        return "a pickle has no code, so it cannot have classes and functions of your own: make the pipeline of the library's own \
                parts only, or export it in your own code and give that file to `hospes pack`"
            .into();
    }
    for (package, save) in [
        ("xgboost", "model.save_model(\"model.json\")"),
        ("lightgbm", "model.booster_.save_model(\"model.txt\")"),
    ] {
        if is_absent && said.contains(&format!("'{package}'")) {
            return format!("save the model with `{save}`, which Hospes reads itself");
        }
    }
    if is_absent {
        let own = match source {
            Source::Torch => format!("; if it is a module of your own, {EXPORT_YOURSELF}"),
            _ => String::new(),
        };
        return match has_python {
            true => format!("install the missing package in the Python that `--python` names{own}"),
            false => {
                let has = requirements(source).trim_end().replace('\n', ", ");
                format!(
                    "name a Python that has the missing package with `--python`, since the environment of Hospes has only {has}{own}"
                )
            }
        };
    }
    if said.contains("MissingShapeCalculator") || said.contains("MissingConverter") {
        return "replace that step by one that skl2onnx converts, or register a converter for it in your own script \
                (`skl2onnx.update_registered_converter`)"
            .into();
    }
    if said.contains("MemoryError") {
        return "give fewer rows, or run it on a machine with more memory".into();
    }
    let python = match has_python {
        true => "`--python` must name a Python that has them",
        false => "otherwise name a Python that has them with `--python`",
    };
    format!(
        "check that the file is a model of {source} and was saved with the versions that are installed; {python}"
    )
}
