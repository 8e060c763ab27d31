//! Operators, and which of them have a known cost.

use std::ops::Range;

/// An operator. ONNX's own domain is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Operator<'m> {
    pub(super) domain: &'m str,
    pub(super) name: &'m str,
    pub(super) overload: &'m str,
}

impl Operator<'_> {
    /// The operator as text.
    pub(super) fn title(self) -> String {
        let title = if self.domain.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.domain, self.name)
        };
        super::refused::quoted(&title)
    }

    /// Whether its cost follows from input shapes and types: no value determines repetitions or sizes.
    ///
    /// Deliberately not listed: control flow (`If`, `Loop`, `Scan`); sizes from values (`Range`, `Tile`, `Expand`, `ConstantOfShape`,
    /// `Resize`, `Upsample`, `Pad`, `OneHot`, `RoiAlign`, `MaxUnpool`, windows and Fourier transforms); lengths from values (`NonZero`,
    /// `Compress`, `Unique`, `NonMaxSuppression`, texts, sequences); random numbers; `Einsum`, whose cost can have any exponent; trees, whose
    /// nodes may form a cycle; decoders that repeat (`BeamSearch` and others). A listed operator may still have operands whose values
    /// determine the size: [`Operator::operands_by_value`].
    pub(super) fn is_bounded(self) -> bool {
        match self.domain {
            "" => ONNX.binary_search(&self.name).is_ok(),
            "ai.onnx.ml" => ML.binary_search(&self.name).is_ok(),
            "com.microsoft" => MICROSOFT.binary_search(&self.name).is_ok(),
            _ => false,
        }
    }

    /// The inputs whose values determine the size or the dimensions of the result, and so the cost of all later nodes. For example, if the
    /// values reshape one of two rows of n elements into a column, adding both gives n² elements.
    pub(super) fn operands_by_value(self) -> Range<usize> {
        match (self.domain, self.name) {
            ("", "Slice") => 1..5,
            ("", "Reshape" | "Split" | "Squeeze" | "TopK" | "Unsqueeze") => 1..2,
            ("", name) if name.starts_with("Reduce") => 1..2,
            ("com.microsoft", "GroupQueryAttention") => 5..7,
            ("com.microsoft", "Attention") => 6..7,
            ("com.microsoft", "MultiHeadAttention") => 8..9,
            _ => 0..0,
        }
    }

    /// Whether its outputs are constant.
    pub(super) fn is_constant(self) -> bool {
        self.domain.is_empty() && self.name == "Constant"
    }

    /// Whether its attributes name a file or library that it uses.
    pub(super) fn leads_outside(self) -> bool {
        OUTSIDE.contains(&self.name)
    }

    /// Whether it belongs to another library, which would have to be loaded.
    pub(super) fn needs_a_library(self) -> bool {
        LIBRARIES.contains(&self.domain)
    }
}

/// A domain in its canonical form: ONNX's own domain has two names.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// ONNX Runtime operators that delegate to something outside, in any domain.
const OUTSIDE: [&str; 8] =
    ["EPContext", "OpenVINO", "PyOp", "PythonOp", "PythonOpGrad", "SNPE", "Snpe", "TensorRTEngine"];

/// Domains of other libraries' operators (onnxruntime-extensions, PyTorch's, TensorRT's plugins).
const LIBRARIES: [&str; 6] = [
    "ai.onnx.contrib",
    "com.microsoft.extensions",
    "org.pytorch._caffe2",
    "org.pytorch.aten",
    "pyopmulti",
    "trt.plugins",
];

/// Sorted for binary search.
#[rustfmt::skip]
const ONNX: [&str; 143] = [
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "Attention", "AveragePool", "BatchNormalization", "BitCast", "BitShift", "BitwiseAnd",
    "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat",
    "Constant", "Conv", "ConvInteger", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear",
    "Det", "Div", "Dropout", "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp", "EyeLike",
    "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GridSample",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "IsInf", "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMul",
    "MatMulInteger", "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod",
    "Mul", "Neg", "NegativeLogLikelihoodLoss", "Not", "Or", "PRelu", "Pow", "QLinearConv",
    "QLinearMatMul", "QuantizeLinear", "RMSNormalization", "RNN", "Reciprocal", "ReduceL1",
    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "RotaryEmbedding", "Round",
    "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Size", "Slice", "Softmax", "SoftmaxCrossEntropyLoss", "Softplus", "Softsign", "SpaceToDepth",
    "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "TensorScatter",
    "ThresholdedRelu", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor",
];

#[rustfmt::skip]
const ML: [&str; 11] = [
    "ArrayFeatureExtractor", "Binarizer", "FeatureVectorizer", "Imputer", "LinearClassifier",
    "LinearRegressor", "Normalizer", "OneHotEncoder", "SVMClassifier", "SVMRegressor", "Scaler",
];

#[rustfmt::skip]
const MICROSOFT: [&str; 39] = [
    "Attention", "BiasAdd", "BiasGelu", "BiasSplitGelu", "DequantizeLinear",
    "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu", "FusedConv", "FusedGemm",
    "FusedMatMul", "FusedMatMulActivation", "Gelu", "GroupQueryAttention", "LayerNormalization",
    "MatMulInteger16", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention", "QAttention",
    "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool",
    "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere",
    "QOrderedMatMul", "QuantizeLinear", "QuickGelu", "RotaryEmbedding",
    "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    "TransposeMatMul", "Trilu",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        for list in [&ONNX[..], &ML, &MICROSOFT] {
            assert!(list.is_sorted());
        }
    }

    #[test]
    fn what_costs_by_its_values_is_not_bounded() {
        let operator = |domain, name| Operator { domain, name, overload: "" };
        for name in [
            "Loop",
            "Scan",
            "If",
            "Range",
            "Tile",
            "Expand",
            "ConstantOfShape",
            "Resize",
            "Upsample",
            "NonMaxSuppression",
            "RandomNormal",
            "RandomUniformLike",
            "Multinomial",
            "Bernoulli",
            "NonZero",
            "Unique",
            "Compress",
            "Einsum",
            "Pad",
            "OneHot",
            "StringConcat",
            "SequenceMap",
            "Invented",
        ] {
            assert!(!operator("", name).is_bounded(), "{name}");
        }
        assert!(operator("", "Conv").is_bounded() && operator("", "Add").is_bounded());
        assert!(!operator("com.microsoft", "Add").is_bounded(), "of another domain");
        assert!(!operator("ai.onnx.ml", "TreeEnsembleClassifier").is_bounded());
    }
}
