//! ONNX models written by hand from protobuf fields, valid or broken in any way.
//!
//! Element types are the numbers of `TensorProto.DataType`.

/// Numbers of `TensorProto.DataType`.
pub mod element {
    pub const F32: u64 = 1;
    pub const U8: u64 = 2;
    pub const I8: u64 = 3;
    pub const I32: u64 = 6;
    pub const I64: u64 = 7;
    pub const TEXT: u64 = 8;
    pub const BOOL: u64 = 9;
}

/// A protobuf varint.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A varint field.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is a message or bytes.
pub fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A text field.
pub fn text(field: u64, text: &str) -> Vec<u8> {
    message(field, text.as_bytes())
}

/// A `TensorProto` with raw data.
pub fn tensor(name: &str, element: u64, dims: &[u64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|size| number(1, *size)).collect();
    [dims, number(2, element), text(8, name), message(9, raw)].concat()
}

/// A one-dimensional `TensorProto` of these INT64 values.
pub fn numbers(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, element::I64, &[values.len() as u64], &raw)
}

/// A scalar INT64 `TensorProto`.
pub fn scalar(name: &str, value: i64) -> Vec<u8> {
    tensor(name, element::I64, &[], &value.to_le_bytes())
}

/// The fields that place a `TensorProto`'s data in this external file.
pub fn external(location: &str) -> Vec<u8> {
    [message(13, &[text(1, "location"), text(2, location)].concat()), number(14, 1)].concat()
}

/// An attribute of this kind (`AttributeProto.AttributeType`) with this content.
pub fn attribute(name: &str, kind: u64, content: &[u8]) -> Vec<u8> {
    message(5, &[text(1, name), content.to_vec(), number(20, kind)].concat())
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> Vec<u8> {
    attribute(name, 2, &number(3, value.cast_unsigned()))
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> =
        values.iter().flat_map(|value| number(8, value.cast_unsigned())).collect();
    attribute(name, 7, &values)
}

/// An attribute that is a list of floats.
pub fn floats(name: &str, values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    attribute(name, 6, &message(7, &raw))
}

/// A text attribute.
pub fn string(name: &str, value: &str) -> Vec<u8> {
    attribute(name, 3, &text(4, value))
}

/// An attribute that is a list of texts.
pub fn strings(name: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| text(9, value)).collect();
    attribute(name, 8, &values)
}

/// A tensor attribute.
pub fn value(name: &str, tensor: &[u8]) -> Vec<u8> {
    attribute(name, 4, &message(5, tensor))
}

/// A graph attribute.
pub fn body(name: &str, graph: &Graph) -> Vec<u8> {
    attribute(name, 5, &message(6, &graph.0))
}

/// A `NodeProto`.
pub fn node(
    operator: (&str, &str),
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Vec<u8>],
) -> Vec<u8> {
    let (domain, name) = operator;
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
    let outputs: Vec<u8> = outputs.iter().flat_map(|name| text(2, name)).collect();
    [inputs, outputs, text(4, name), attributes.concat(), text(7, domain)].concat()
}

/// A `GraphProto` under construction.
#[derive(Clone, Default)]
pub struct Graph(pub Vec<u8>);

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self(text(2, "graph"))
    }

    /// Adds any field.
    #[must_use]
    pub fn with(mut self, field: Vec<u8>) -> Self {
        self.0.extend(field);
        self
    }

    /// Adds a node with one of ONNX's own operators.
    #[must_use]
    pub fn node(
        self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Vec<u8>],
    ) -> Self {
        self.with(message(1, &node(("", operator), inputs, outputs, attributes)))
    }

    /// Adds a node with an operator of another domain.
    #[must_use]
    pub fn foreign(
        self,
        operator: (&str, &str),
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Vec<u8>],
    ) -> Self {
        self.with(message(1, &node(operator, inputs, outputs, attributes)))
    }

    /// Adds an initialiser.
    #[must_use]
    pub fn weights(self, tensor: &[u8]) -> Self {
        self.with(message(5, tensor))
    }

    /// Adds an input. Negative sizes are unknown.
    #[must_use]
    pub fn input(self, name: &str, element: u64, sizes: &[i64]) -> Self {
        self.with(message(11, &typed(name, element, Some(sizes))))
    }

    /// Adds an output. Negative sizes are unknown.
    #[must_use]
    pub fn output(self, name: &str, element: u64, sizes: &[i64]) -> Self {
        self.with(message(12, &typed(name, element, Some(sizes))))
    }

    /// Adds an output with a known type and an unknown shape.
    #[must_use]
    pub fn result(self, name: &str, element: u64) -> Self {
        self.with(message(12, &typed(name, element, None)))
    }

    /// The model with this graph, the usual IR version, and the operator sets that the tests use.
    pub fn model(&self) -> Vec<u8> {
        self.model_of(17)
    }

    /// The same with this version of ONNX's own operators.
    pub fn model_of(&self, version: u64) -> Vec<u8> {
        let operators = [("", version), ("ai.onnx.ml", 3), ("com.microsoft", 1), ("own", 1)];
        let operators = operators.iter().flat_map(|(domain, version)| {
            message(8, &[text(1, domain), number(2, *version)].concat())
        });
        [number(1, 8), message(7, &self.0), operators.collect()].concat()
    }
}

/// A `ValueInfoProto`; without sizes, its rank is unknown.
pub fn typed(name: &str, element: u64, sizes: Option<&[i64]>) -> Vec<u8> {
    let dimension = |(at, size): (usize, &i64)| match u64::try_from(*size) {
        Ok(size) => message(1, &number(1, size)),
        Err(_) => message(1, &text(2, &format!("{name}_{at}"))),
    };
    let shape = sizes.map(|sizes| {
        message(2, &sizes.iter().enumerate().flat_map(dimension).collect::<Vec<u8>>())
    });
    let tensor = [number(1, element), shape.unwrap_or_default()].concat();
    [text(1, name), message(2, &message(1, &tensor))].concat()
}

/// A `FunctionProto` of the domain `own`, as a field of the model.
pub fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| text(4, name)).collect();
    let outputs: Vec<u8> = outputs.iter().flat_map(|name| text(5, name)).collect();
    let nodes: Vec<u8> = nodes.iter().flat_map(|node| message(7, node)).collect();
    let opset = |domain: &str, version| message(9, &[text(1, domain), number(2, version)].concat());
    let parts = [text(1, name), inputs, outputs, nodes, opset("", 17), opset("own", 1)];
    message(25, &[parts.concat(), text(10, "own")].concat())
}
