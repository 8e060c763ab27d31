//! How many sequences of what length a decoder gets, by its sizes alone.

use hospes_decoder::Config;
use hospes_language::{CacheShape, Settings};

/// Memory of the keys and values of all rows, in bytes. It is taken page by page as sequences grow.
const ROWS_BYTES_MAX: usize = 1536 << 20;
/// Most sequences that are computed together. More gain little: at 16 a token costs a quarter of what it costs alone.
const ROWS_MAX: usize = 16;
/// Rows are fewer before they are shorter than this.
const LENGTH_MIN: usize = 2048;
/// Most tokens of a row.
const LENGTH_MAX: usize = 32_768;
/// Rows' lengths are multiples of this.
const LENGTH_STEP: usize = 64;
/// Memory of beginnings that are remembered, in bytes.
const PREFIX_BYTES_MAX: usize = 256 << 20;
/// Memory of sequences without a row, in bytes.
const SAVED_BYTES_MAX: usize = 256 << 20;
/// Maximum sequences of a model.
pub(super) const SEQUENCES_MAX: usize = 256;
/// Tokens of a prompt that are computed in a turn, while others wait for their next token.
const CHUNK: usize = 64;

/// The rows of a decoder.
pub(super) fn rows(config: &Config) -> CacheShape {
    let (layers, heads) = (config.layers as usize, config.kv_heads as usize);
    let size = config.head_size as usize;
    let token_bytes = 2 * layers * heads * size * size_of::<f32>();
    let longest = (config.context as usize).min(LENGTH_MAX);
    let length = |rows: usize| {
        let length = ROWS_BYTES_MAX / token_bytes / rows / LENGTH_STEP * LENGTH_STEP;
        length.clamp(1, longest)
    };
    let mut rows = ROWS_MAX;
    while rows > 1 && length(rows) < longest.min(LENGTH_MIN) {
        rows -= 1;
    }
    CacheShape { layers, rows, heads, length: length(rows), size }
}

/// Memory of the rows, in bytes, once all of them are full.
pub(super) fn rows_bytes(config: &Config) -> u64 {
    let shape = rows(config);
    (shape.rows * shape.length * shape.token() * size_of::<f32>()) as u64
}

/// The limits of a decoder's engine.
pub(super) fn settings() -> Settings {
    Settings {
        chunk: CHUNK,
        prefix_bytes_max: PREFIX_BYTES_MAX,
        saved_bytes_max: SAVED_BYTES_MAX,
        sequences_max: SEQUENCES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hospes_decoder::Architecture;

    fn config(layers: u32, kv_heads: u32, head_size: u32, context: u32) -> Config {
        Config {
            format: hospes_decoder::FORMAT,
            architecture: Architecture::Llama,
            layers,
            hidden: 64,
            heads: kv_heads,
            kv_heads,
            head_size,
            intermediate: 64,
            vocabulary: 100,
            context,
            rope_theta: 10_000.0,
            rope_divisors: None,
            norm_eps: 1e-5,
            tied: true,
            qkv_bias: false,
            qk_norm: false,
            bos: None,
            eos: vec![0],
        }
    }

    #[test]
    fn rows_fit_into_their_memory_and_are_long_rather_than_many() {
        for (layers, kv_heads, head_size, context) in
            [(30, 3, 64, 8192), (2, 1, 8, 64), (32, 8, 128, 131_072), (256, 512, 512, 1 << 20)]
        {
            let shape = rows(&config(layers, kv_heads, head_size, context));
            let bytes = shape.rows * shape.length * shape.token() * 4;
            assert!(bytes <= ROWS_BYTES_MAX || (shape.rows, shape.length) == (1, 1), "{shape:?}");
            assert!(shape.rows >= 1 && shape.length >= 1 && shape.length <= context as usize);
        }
        let small = rows(&config(30, 3, 64, 8192));
        assert_eq!((small.rows, small.length), (16, 2176), "SmolLM2-135M");
        assert_eq!(rows(&config(2, 1, 8, 64)).length, 64);
        let large = rows(&config(32, 8, 128, 131_072));
        assert_eq!((large.rows, large.length), (3, 2048), "8 billion parameters");
    }
}
