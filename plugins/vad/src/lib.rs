//! Finds speech in recordings: reads the file ([`wav`]), runs the model for each 32 milliseconds ([`Listener`]), and turns the
//! probabilities into segments ([`stretches`]).

use hospes_sdk::__private::wit_bindgen::{self, StreamReader};
use hospes_sdk::{Graph, Tensor};

mod stretches;
mod wav;

use stretches::Stretches;
use wav::Recording;

hospes_sdk::plugin!("hospes:vad/vad", default_allocator);

/// The size of the model's state, for two layers.
const STATE: [usize; 3] = [2, 1, 128];

/// The plugin.
struct Vad;

impl Guest for Vad {
    async fn segments(recording: Vec<u8>) -> Result<StreamReader<Segment>, String> {
        let recording = wav::read(&recording)?;
        let mut listener = Listener::new(&recording)?;
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            let mut stretches = Stretches::new(recording.rate, recording.samples.len());
            let rate = f64::from(recording.rate);
            for window in recording.windows() {
                // The response has begun, so an error of the model can only end the call.
                let chance = listener.hear(window).expect("the model answers");
                if let Some((start, end)) = stretches.hear(chance) {
                    let segment = Segment { start: start as f64 / rate, end: end as f64 / rate };
                    if writer.write_one(segment).await.is_some() {
                        return;
                    }
                }
            }
            if let Some((start, end)) = stretches.end() {
                writer
                    .write_one(Segment { start: start as f64 / rate, end: end as f64 / rate })
                    .await;
            }
        });
        Ok(reader)
    }

    fn chances(recording: Vec<u8>) -> Result<Vec<f32>, String> {
        let recording = wav::read(&recording)?;
        let mut listener = Listener::new(&recording)?;
        recording.windows().map(|window| listener.hear(window)).collect()
    }
}

export!(Vad);

/// The model, and its state after the recording so far.
struct Listener {
    model: Graph,
    rate: u32,
    /// Stays in the host, because it only goes from one computation to the next.
    state: Tensor,
    /// The end of the previous window and the window, which the model needs together.
    input: Vec<f32>,
    context: usize,
}

impl Listener {
    fn new(recording: &Recording) -> Result<Self, String> {
        let (window, context) = (recording.window(), recording.window() / 8);
        Ok(Self {
            model: Graph::load("silero")?,
            rate: recording.rate,
            state: Tensor::new(&STATE, &[0_f32; 256])?,
            input: vec![0.0; context + window],
            context,
        })
    }

    /// The probability of speech in the next window.
    fn hear(&mut self, window: &[f32]) -> Result<f32, String> {
        let length = self.input.len();
        self.input.copy_within(length - self.context.., 0);
        let (heard, silence) = self.input[self.context..].split_at_mut(window.len());
        heard.copy_from_slice(window);
        silence.fill(0.0);
        let nothing = Tensor::new(&[0], &[0_f32; 0])?;
        let outputs = self.model.compute([
            ("input", Tensor::new(&[1, length], &self.input)?),
            ("state", std::mem::replace(&mut self.state, nothing)),
            ("sr", Tensor::new(&[], &[i64::from(self.rate)])?),
        ])?;
        let mut chance = None;
        for (name, tensor) in outputs {
            match name.as_str() {
                "output" => chance = tensor.to_vec::<f32>()?.first().copied(),
                "stateN" => self.state = tensor,
                _ => {}
            }
        }
        chance.ok_or_else(|| "the model says nothing".to_owned())
    }
}
