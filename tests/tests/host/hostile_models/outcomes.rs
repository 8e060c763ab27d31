//! The results of models that a backend may refuse or run, with the pinned ONNX Runtime on x86-64.

use super::table::Becomes::{self, Answers, Ends, Fails, Overdone, Refused, Unfit};

/// The expected result of the model with this name.
///
/// # Panics
/// If none is listed.
pub fn of(name: &str) -> Becomes {
    let known = [refused(name), fails(name), others(name)];
    known.into_iter().flatten().next().unwrap_or_else(|| panic!("no expected result for `{name}`"))
}

/// Models that do not go live.
fn refused(name: &str) -> Option<Becomes> {
    Some(Refused(match name {
        "an input of 2^40 elements" => "`inference.tensor_bytes_max`",
        "an input of 12 dimensions" => "dimensions, more than the 8",
        "a graph with a cycle" => "not acyclic",
        "two nodes with the same output" => "Duplicate definition",
        "ConstantOfShape with a negative size" => "non-negative elements",
        // Either when the library loads it or in the trial inference.
        "ConstantOfShape with 8 TiB" | "ConstantOfShape with 2^80 elements" => "`onnxruntime`",
        "Expand to 1 TiB" | "Range to 2^40" | "RandomNormal with 2^40 elements" => {
            "Failed to allocate memory"
        }
        "Tile to 1 TiB" => "running Tile node",
        "a Constant without data" => "does not have type information",
        "Conv with zero strides"
        | "Conv with zero dilations"
        | "MaxPool with a window of zero"
        | "AveragePool with zero strides" => "must only contain positive values",
        "Conv with zero groups" | "Conv with i64::MIN groups" => "group must be greater than 0",
        "Conv with pads of 2^40" => "Integer overflow",
        "ConvTranspose to an output of 2^40" => "Expected input size",
        "MaxPool with negative pads" => "must not contain negative values",
        "DepthToSpace with blocks of 0" => "Blocksize must be positive",
        "SpaceToDepth with blocks of 2^40" => "multiple of block_size",
        "Transpose with a repeated axis" => "has repeated value",
        "LRN with size 0" => "LRN<T>::LRN",
        "Flatten at axis i64::MIN" => "is not in valid range",
        "LSTM with hidden size 0" => "hidden_size",
        "LSTM with hidden size 2^40" => "narrowing_error",
        "a tree with a cycle to its root"
        | "a tree with a missing feature"
        | "a tree with feature i64::MIN" => "tree_ensemble_common.h",
        "a tree whose root is its own child" | "a tree with a missing child" => {
            "A node cannot point to itself"
        }
        "a model with an empty graph" => "should have been populated",
        "branches nested fifteen deep" | "StringNormalizer with an unknown locale" => {
            "`onnxruntime` cannot load it"
        }
        _ => return None,
    }))
}

/// Models that go live, but whose calls the library refuses.
fn fails(name: &str) -> Option<Becomes> {
    Some(Fails(match name {
        "ConstantOfShape with the caller's 2^40"
        | "Range to the caller's 2^40"
        | "OneHot with the caller's depth of 2^40"
        | "Pad by the caller's 2^40"
        | "a length squared eight times"
        | "a length doubled sixty times"
        | "Einsum with eight output dimensions"
        | "Resize by 10^12" => "Failed to allocate memory",
        "TopK with k = -1" => "k must not be negative",
        "Div of an INT64 by 0" | "Div of an INT8 by 0" => "division by zero",
        "Mod of an INT64 by 0" | "Mod of a UINT8 by 0" => "modulo by zero",
        "Gather below the first index"
        | "Gather above the last index"
        | "ScatterElements above the last index" => "out of data bounds",
        "GatherElements above the last index" => "running GatherElements node",
        "GatherND above the last index" => "invalid index found",
        "ScatterND below the first index" => "invalid indice found",
        "Slice along a missing axis" => "'axes' has an axis outside",
        "Slice with step 0" => "'step' value cannot be 0",
        "Reshape with two unknown sizes" | "Reshape to a size that overflows" => {
            "running Reshape node"
        }
        "Unsqueeze at a missing axis" => "running Unsqueeze node",
        "Split into negative sizes" => "All values must be >",
        _ => return None,
    }))
}

/// Models that only look hostile, that crash the worker, or that run out of memory or time.
fn others(name: &str) -> Option<Becomes> {
    Some(match name {
        "thousands of inputs" | "an unused input" => Unfit("missing required input(s)"),
        "function calls 30 deep"
        | "TopK with k = 2^62"
        | "Div of i8::MIN by -1"
        | "BitShift by 255"
        | "Pow of i64::MIN by i64::MIN"
        | "Slice from 2^40"
        | "Slice to i64::MIN"
        | "Slice with step i64::MIN"
        | "Softmax along axis 2^40"
        | "a loop of 0 iterations"
        | "a loop of -2^62 iterations" => Answers,
        "Div of i64::MIN by -1"
        | "Div of i32::MIN by -1"
        | "Mod of i64::MIN by -1"
        | "Mod of i32::MIN by -1" => Ends("SIGFPE"),
        "a text doubled sixty times"
        | "a loop that doubles its state"
        | "a loop that collects its outputs"
        | "endless matrix products" => Overdone,
        _ => return None,
    })
}
