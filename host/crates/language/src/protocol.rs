//! What a host and an engine say to each other about sequences.
//!
//! A host numbers its sequences and its jobs. Every job gets one [`Tell::Done`], except a generation, which gets pieces and one
//! [`Tell::End`]. A generation computes no more tokens than it was granted: then it waits. So a slow reader stops nobody, and an
//! agreement's tokens are taken before they are computed.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use hospes_core::language::{Failure, Finish, Likely, Part, Sampling, TextPiece, Until};

/// From the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// An empty sequence. `scope` is a key of who may share its beginning.
    Open {
        job: u64,
        sequence: u32,
        caller: u64,
        weight: NonZeroU32,
        scope: Option<[u8; 32]>,
        left_nanos: u64,
    },
    /// A part of a job's [`Payload`], which comes before the job.
    Bytes {
        job: u64,
        bytes: Vec<u8>,
    },
    /// How many tokens the payload's parts are.
    Count {
        job: u64,
    },
    /// Turns the payload's parts into tokens. They are added by `Commit`.
    Append {
        job: u64,
        sequence: u32,
    },
    /// Adds what was appended, and computes all of the sequence.
    Commit {
        job: u64,
        sequence: u32,
    },
    /// Forgets what was appended and not committed.
    Undo {
        sequence: u32,
    },
    /// Generates, by the payload's settings. `tokens` are granted. `seed` is for settings without one.
    Generate {
        job: u64,
        sequence: u32,
        tokens: u32,
        seed: u64,
    },
    /// More tokens for a generation. After the last, it ends when it has none.
    Grant {
        job: u64,
        tokens: u32,
        last: bool,
    },
    /// Ends a generation. It still gets its end.
    Cancel {
        job: u64,
    },
    Fork {
        job: u64,
        sequence: u32,
        child: u32,
    },
    Truncate {
        job: u64,
        sequence: u32,
        tokens: u32,
    },
    Likely {
        job: u64,
        sequence: u32,
        count: u8,
    },
    Hidden {
        job: u64,
        sequence: u32,
    },
    Close {
        sequence: u32,
    },
}

/// What is too long for one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Payload {
    Parts(Vec<Part>),
    Generate(Sampling, Until),
}

/// From the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Tell {
    Done {
        job: u64,
        result: Result<Answer, Failure>,
    },
    Piece {
        job: u64,
        piece: TextPiece,
    },
    /// The last of a generation: how many tokens it has chosen, with one that ended it.
    End {
        job: u64,
        result: Result<(u32, Finish), Failure>,
    },
}

/// A job's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Nothing,
    /// Tokens: of a prompt, or that were appended.
    Count(u32),
    /// Tokens of the sequence, and how many of those just computed were in the cache.
    Computed {
        tokens: u32,
        cached: u32,
    },
    Likely(Vec<Likely>),
    Hidden(Vec<f32>),
}
