//! The engine of language models: prompts to tokens, sequences in rows, turns among callers, sampling, grammars, text out.
//!
//! Everything here is the same whatever computes the model: [`Forward`] does that. [`Engine`] is a plain state machine that one thread
//! drives. The surprise: a sequence's answer does not depend on what is computed beside it, to the last bit.

pub mod cache;
mod engine;
mod fair;
mod grammar;
mod outlet;
mod prefix;
mod prepare;
mod protocol;
mod sampling;
mod sequence;
mod text;

pub use cache::{Cache, CacheShape};
pub use engine::{Answers, Engine, Event, Forward, Settings};
pub use fair::{Fair, GENERATED_COST, PROMPT_COST};
pub use prepare::{Prepared, Preparer, Task};
pub use protocol::{Answer, Ask, Payload, Tell};
pub use text::{PROMPT_BYTES_MAX, Text, TextError, added_names};
