//! What becomes of each model that a backend may refuse or compute: with ONNX Runtime as it is pinned, on x86-64.

use super::table::Becomes::{self, Answers, Ends, Fails, Overdone, Refused, Unfit};

/// What has to come of the model with this name.
///
/// # Panics
/// If nobody has said it.
pub fn of(name: &str) -> Becomes {
    let known = [refused(name), fails(name), others(name)];
    known.into_iter().flatten().next().unwrap_or_else(|| panic!("what becomes of `{name}`?"))
}

/// Those that do not go live.
fn refused(name: &str) -> Option<Becomes> {
    Some(Refused(match name {
        "an input of 2^40 elements" => "`inference.tensor_bytes_max`",
        "an input of 12 dimensions" => "dimensions, more than the 8",
        "a graph that feeds itself" => "not acyclic",
        "two nodes with the same result" => "Duplicate definition",
        "a constant of a size below zero" => "non-negative elements",
        // Whether the library notices when it loads it or when it is tried out.
        "a constant of 8 TiB" | "a constant of 2^80 elements" => "`onnxruntime`",
        "a constant that is expanded to 1 TiB"
        | "a row of 2^40 numbers"
        | "2^40 random numbers" => "Failed to allocate memory",
        "a constant that is repeated to 1 TiB" => "running Tile node",
        "a value without data" => "does not have type information",
        "a filter by steps of nothing"
        | "a filter with holes of nothing"
        | "a window of nothing"
        | "a window by steps of nothing" => "must only contain positive values",
        "a filter of no groups" | "a filter of the least groups" => "group must be greater than 0",
        "a filter with margins of 2^40" => "Integer overflow",
        "a filter backwards to 2^40" => "Expected input size",
        "a window with margins below nothing" => "must not contain negative values",
        "blocks of nothing" => "Blocksize must be positive",
        "blocks of 2^40" => "multiple of block_size",
        "an order of axes with one of them twice" => "has repeated value",
        "a part of no numbers" => "LRN<T>::LRN",
        "a flattening at the least axis" => "is not in valid range",
        "a memory of nothing" => "hidden_size",
        "a memory of 2^40" => "narrowing_error",
        "a tree that leads back to its root"
        | "a tree that asks for a feature that is not there"
        | "a tree that asks for the least feature" => "tree_ensemble_common.h",
        "a tree whose root is its own child" | "a tree with a child that is not there" => {
            "A node cannot point to itself"
        }
        "a model that computes nothing" => "should have been populated",
        "branches of branches, fifteen deep" | "a locale that the machine does not have" => {
            "`onnxruntime` cannot load it"
        }
        _ => return None,
    }))
}

/// Those whose calls the library refuses.
fn fails(name: &str) -> Option<Becomes> {
    Some(Fails(match name {
        "2^40 zeros by a caller's number"
        | "2^40 numbers by a caller's number"
        | "a row of 2^40 by a caller's number"
        | "a margin of 2^40 by a caller's number"
        | "a length that is squared eight times"
        | "a length that is doubled sixty times"
        | "a product of eight dimensions"
        | "a picture that is enlarged 10^12 times" => "Failed to allocate memory",
        "the best -1 of three" => "k must not be negative",
        "an INT64 by nothing" | "an INT8 by nothing" => "division by zero",
        "what is left of an INT64 by nothing" | "what is left of a UINT8 by nothing" => {
            "modulo by zero"
        }
        "an index below the first"
        | "an index behind the last"
        | "an element to write behind the last" => "out of data bounds",
        "an element behind the last" => "running GatherElements node",
        "a place behind the last" => "invalid index found",
        "a place to write below the first" => "invalid indice found",
        "a part along an axis that is not there" => "'axes' has an axis outside",
        "a part by steps of nothing" => "'step' value cannot be 0",
        "a shape of two open sizes" | "a shape that overflows" => "running Reshape node",
        "an axis that is not there" => "running Unsqueeze node",
        "parts of sizes below nothing" => "All values must be >",
        _ => return None,
    }))
}

/// Those that only looked hostile, those that end the processor's patience, and those that a machine's memory or time ends.
fn others(name: &str) -> Option<Becomes> {
    Some(match name {
        "thousands of inputs" | "an input that nobody uses" => Unfit("missing required input(s)"),
        "functions that call each other 30 deep"
        | "the best 2^62 of three"
        | "the least INT8 by -1"
        | "bits that are moved by 255"
        | "the least power of the least number"
        | "a part that begins 2^40 behind"
        | "a part that ends below everything"
        | "a part by the least steps"
        | "an axis of 2^40"
        | "a loop of no turns"
        | "a loop of less than no turns" => Answers,
        "the least INT64 by -1"
        | "the least INT32 by -1"
        | "what is left of the least INT64 by -1"
        | "what is left of the least INT32 by -1" => Ends("SIGFPE"),
        "a text that is doubled sixty times"
        | "a loop that doubles what it carries"
        | "a loop that collects what it makes"
        | "products of matrices that take ages" => Overdone,
        _ => return None,
    })
}
