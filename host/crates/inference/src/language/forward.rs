//! A decoder in ONNX Runtime, as the engine drives it.

use super::graph;
use crate::backend::BackendError;
use crate::backend::onnxruntime::{Borrowed, Decoding, OnnxRuntime};
use hospes_decoder::{Decoder, Matrix};
use hospes_language::{Answers, Cache, CacheShape, Forward};

/// A loaded decoder with its rows.
pub(super) struct Loaded {
    session: Decoding,
    embedding: Matrix<'static>,
    vocabulary: usize,
    cache: Cache,
    /// The states of the tokens that go in.
    states: Vec<f32>,
}

impl Loaded {
    pub(super) fn new(
        runtime: &OnnxRuntime,
        decoder: &Decoder<'static>,
        shape: CacheShape,
    ) -> Result<Self, BackendError> {
        let graph::Written { graph, weights, inputs, outputs } =
            graph::write(decoder, shape.length);
        let session = Decoding::load(runtime, &graph, &weights, [inputs, outputs])?;
        let vocabulary = decoder.config().vocabulary as usize;
        let (embedding, cache) = (decoder.embedding(), Cache::new(shape));
        Ok(Self { session, embedding, vocabulary, cache, states: Vec::new() })
    }
}

impl Forward for Loaded {
    fn cache(&mut self) -> &mut Cache {
        &mut self.cache
    }

    fn run(
        &mut self,
        first: usize,
        tokens: &[u32],
        before: &[usize],
        answers: &mut Answers,
    ) -> Result<(), String> {
        let (rows, hidden) = (before.len(), self.embedding.columns);
        let width = tokens.len() / rows.max(1);
        self.states.resize(tokens.len() * hidden, 0.0);
        for (token, state) in tokens.iter().zip(self.states.chunks_exact_mut(hidden)) {
            self.embedding.row(*token as usize, state);
        }
        answers.logits.resize(rows * self.vocabulary, 0.0);
        answers.hidden.resize(rows * hidden, 0.0);
        let last = |before: &usize| i32::try_from(before + width - 1).unwrap_or(i32::MAX);
        let mut lengths: Vec<i32> = before.iter().map(last).collect();
        let mut total = [lengths.iter().max().copied().unwrap_or(0) + 1];
        let [rows, width, hidden, vocabulary] =
            [rows, width, hidden, self.vocabulary].map(|size| size as i64);
        let shape = *self.cache.shape();
        let kept = [rows, shape.heads as i64, shape.length as i64, shape.size as i64];
        let (states_shape, one) = ([rows, width, hidden], [rows]);
        let inputs = vec![
            (Borrowed::F32(&mut self.states), &states_shape[..]),
            (Borrowed::I32(&mut lengths), &one[..]),
            (Borrowed::I32(&mut total), &[][..]),
        ];
        let shapes = [[rows, 1, vocabulary], [rows, 1, hidden]];
        let outputs = vec![
            (Borrowed::F32(&mut answers.logits), &shapes[0][..]),
            (Borrowed::F32(&mut answers.hidden), &shapes[1][..]),
        ];
        let parts = self.cache.parts(first, before.len());
        let both = parts.map(|part| (Borrowed::F32(part), &kept[..])).collect();
        self.session.run(inputs, outputs, both).map_err(|error| error.to_string())
    }
}
