//! Limits on sizes, depths and counts.

/// Maximum size of a model in bytes: protobuf's maximum for a message.
pub const MODEL_BYTES_MAX: usize = i32::MAX as usize;

/// Maximum nesting of messages. A graph in a graph takes four levels: graph, node, attribute, graph.
pub const DEPTH_MAX: usize = 64;

/// Maximum nodes of all graphs, with function calls inlined.
pub const NODES_MAX: u64 = 250_000;

/// Maximum depth of function calls.
pub const FUNCTION_DEPTH_MAX: usize = 32;

/// Maximum dimensions of a shape. The limit for callers' tensors is lower (`RANK_MAX`).
pub const RANK_MAX: usize = 32;

/// Maximum elements of a shape, so that the tensor's size in bytes does not overflow for any type.
pub const ELEMENTS_MAX: u64 = i64::MAX as u64 / 16;

/// Maximum total size of sparse tensors in bytes after they are expanded, as backends do when they load a model.
pub const DENSE_BYTES_MAX: u64 = 256 << 20;

/// Maximum inputs with default values that callers may set. Some exporters list every weight as an input. If a model has more such inputs,
/// all their values are constants.
pub const INITIALISED_INPUTS_MAX: usize = 64;

/// The newest version of ONNX's format that ONNX Runtime 1.31 reads.
pub const IR_VERSION_MAX: i64 = 13;

/// The newest opset of ONNX's own operators that ONNX Runtime 1.31 computes.
pub const OPSET_MAX: i64 = 26;

/// The newest opset of `ai.onnx.ml` that ONNX Runtime 1.31 computes.
pub const ML_OPSET_MAX: i64 = 5;

/// Totals over the whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Nodes,
    Attributes,
    Tensors,
    Functions,
    Values,
    Names,
    Entries,
    TextBytes,
}

impl Limit {
    pub(super) const COUNT: usize = 8;

    /// The maximum.
    pub const fn max(self) -> u64 {
        match self {
            Limit::Nodes => NODES_MAX,
            Limit::Attributes | Limit::Values | Limit::Entries => 1_000_000,
            Limit::Tensors => 250_000,
            Limit::Functions => 10_000,
            Limit::Names => 5_000_000,
            Limit::TextBytes => 64 << 20,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Limit::Nodes => "nodes",
            Limit::Attributes => "attributes",
            Limit::Tensors => "tensors",
            Limit::Functions => "functions",
            Limit::Values => "types of values",
            Limit::Names => "names",
            Limit::Entries => "entries of metadata",
            Limit::TextBytes => "bytes of documentation and metadata",
        }
    }
}
