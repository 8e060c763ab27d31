//! How large, how deep and how many.

/// Largest model, in bytes: no protobuf message may be larger.
pub const MODEL_BYTES_MAX: usize = i32::MAX as usize;

/// Most messages within messages. A graph within a graph is four: graph, node, attribute, graph.
pub const DEPTH_MAX: usize = 64;

/// Most nodes of all graphs together, with every call of a function written out.
pub const NODES_MAX: u64 = 250_000;

/// Most functions that call each other in a row.
pub const FUNCTION_DEPTH_MAX: usize = 32;

/// Most dimensions of a shape. What callers send has fewer (`RANK_MAX` of tensors).
pub const RANK_MAX: usize = 32;

/// Most elements of a shape: such a tensor's bytes can be counted, whatever its type is.
pub const ELEMENTS_MAX: u64 = i64::MAX as u64 / 16;

/// Bytes of all sparse tensors together where they are spread out, as backends do when they load a model.
pub const DENSE_BYTES_MAX: u64 = 256 << 20;

/// Most inputs with a value in the model that callers may give. Some exporters list every weight as an input: of a model with more, all
/// such values are constants.
pub const INITIALISED_INPUTS_MAX: usize = 64;

/// What is counted over the whole model.
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

    /// Most of them.
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
