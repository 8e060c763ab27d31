//! Finds the type of a file with Magika's model and Magika's rules. The rules say which bytes the model gets and when it is not
//! used ([`window`]), and when its result is not trusted ([`verdict`]).

use hospes_sdk::{Graph, Tensor};

use verdict::Finding;
use window::Window;

mod verdict;
mod window;

hospes_sdk::plugin!("hospes:filetype/filetype");

/// The plugin.
struct Filetype;

impl Guest for Filetype {
    fn identify(file: Vec<u8>) -> Result<Verdict, String> {
        let finding = match window::of(&file) {
            Window::Decided(kind) => Finding::by_rule(kind),
            Window::Tokens(tokens) => Finding::by_model(&scores(&tokens)?)?,
        };
        Ok(finding.into())
    }
}

export!(Filetype);

/// The model's score for each of its labels.
fn scores(tokens: &[i32]) -> Result<Vec<f32>, hospes_sdk::Error> {
    let bytes = Tensor::new(&[1, tokens.len()], tokens)?;
    Graph::load("magika")?.compute([("bytes", bytes)])?.get("target_label")?.to_vec()
}

impl From<Finding> for Verdict {
    fn from(finding: Finding) -> Self {
        let kind = finding.kind;
        Self {
            label: kind.label.into(),
            score: finding.score,
            mime_type: kind.mime_type.into(),
            group: kind.group.into(),
            description: kind.description.into(),
            extensions: kind.extensions.iter().map(|&extension| extension.into()).collect(),
            is_text: kind.is_text,
            model_label: finding.model_label.map(str::to_owned),
        }
    }
}
