//! Classifies a picture: decodes it ([`picture`]), resizes its centre for the model ([`resample`]), and returns the classes
//! with the highest scores ([`ranking`]).

use hospes_sdk::{Graph, Tensor};

use resample::SIDE;

mod picture;
mod ranking;
mod resample;

hospes_sdk::plugin!("hospes:classify/classify");

/// The plugin.
struct Classify;

impl Guest for Classify {
    fn classify(picture: Vec<u8>) -> Result<Vec<Guess>, String> {
        let picture = picture::decode(picture).map_err(|e| e.to_string())?;
        let input = resample::centre(&picture);
        let image = Tensor::new(&[1, 3, SIDE, SIDE], &input)?;
        let outputs = Graph::load("efficientnet-lite0")?.compute([("image", image)])?;
        let logits: Vec<f32> = outputs.get("logits")?.to_vec()?;
        let best = ranking::best(&logits)?;
        Ok(best.map(|(class, label, score)| Guess { class, label: label.into(), score }).into())
    }
}

export!(Classify);
