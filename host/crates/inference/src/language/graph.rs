//! Writes the graph of a decoder: for every layer attention with its keys and values in place, then the feed-forward step.
//!
//! The publisher gives numbers and sizes only. Weights are not in the graph: it names them, and they stay in the publisher's file. The
//! surprise: tokens' states go in, not tokens, because looking them up is cheaper than a table of the library's own.

use hospes_decoder::{BLOCK, Config, Decoder, Kind, Matrix, Storage, Vector};
use hospes_onnx::Model;
use hospes_onnx::model::{Data, ElementType, Entry, Graph, Node, Size, Tensor, ValueInfo};

use crate::backend::onnxruntime::{Numbers, Weight};

/// ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";
/// ONNX's operators' version. It has all that is used here.
const OPSET: i64 = 17;
/// Activations as 8-bit integers, where weights are quantised: with 32-bit floats a token takes twenty times as long.
const ACCURACY: i64 = 4;

/// The names of what goes in and comes out besides keys and values.
pub(super) const STATES: &str = "states";
pub(super) const LENGTHS: &str = "lengths";
pub(super) const TOTAL: &str = "total";
pub(super) const LOGITS: &str = "logits";
pub(super) const HIDDEN: &str = "hidden";

/// A graph, and the weights that it names.
pub(super) struct Written {
    pub(super) graph: Vec<u8>,
    pub(super) weights: Vec<Weight>,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

/// Writes the graph of a decoder for sequences of at most `length` tokens.
pub(super) fn write(decoder: &Decoder<'static>, length: usize) -> Written {
    let config = decoder.config();
    let mut writer = Writer::new(config);
    writer.rotations(config, length);
    let first = decoder.layer(0);
    let mut states = STATES.to_owned();
    if let Some(first) = &first {
        writer.norm(&states, &first.input_norm, "norm.0");
    }
    let mut normed = "norm.0".to_owned();
    for (number, layer) in decoder.layers().enumerate() {
        let next = decoder.layer(number as u32 + 1);
        let after = next.map_or_else(|| decoder.norm(), |next| next.input_norm);
        (normed, states) = writer.layer(number, &layer, [&normed, &states], &after);
    }
    writer.head(decoder, &normed);
    writer.finish(config)
}

struct Writer<'c> {
    config: &'c Config,
    graph: Graph,
    weights: Vec<Weight>,
}

impl<'c> Writer<'c> {
    fn new(config: &'c Config) -> Self {
        Self { config, graph: Graph::new("decoder"), weights: Vec::new() }
    }

    fn node(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    /// Names a weight that stays where it is.
    fn weight(&mut self, name: &str, shape: &[usize], numbers: Numbers) {
        let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        let element = match numbers {
            Numbers::F32(_) => ElementType::FLOAT,
            Numbers::U8(_) => ElementType::UINT8,
        };
        // The library gets the bytes by name, and never looks for this file.
        let mut tensor = Tensor::of_bytes(name, element, &shape, Vec::new());
        tensor.data = Data::Outside(vec![Entry::new("location", "weights")]);
        self.graph.initialisers.push(tensor);
        self.weights.push(Weight { name: name.to_owned(), shape, numbers });
    }

    fn vector(&mut self, vector: &Vector<'static>) -> String {
        self.weight(&vector.name, &[vector.bytes.len() / 4], Numbers::F32(vector.bytes));
        vector.name.clone()
    }

    /// Numbers that the host has made.
    fn made(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) {
        let numbers: &'static [f32] = Vec::leak(numbers);
        self.weight(name, shape, Numbers::F32(bytemuck::cast_slice(numbers)));
    }

    /// Sines and cosines of the positions, as many as a sequence has.
    fn rotations(&mut self, config: &Config, length: usize) {
        let frequencies = config.frequencies();
        let angles =
            || (0..length).flat_map(|at| frequencies.iter().map(move |one| at as f64 * one));
        let shape = [length, frequencies.len()];
        let (cosines, sines) =
            (angles().map(|angle| angle.cos() as f32), angles().map(|angle| angle.sin() as f32));
        self.made("cosines", &shape, cosines.collect());
        self.made("sines", &shape, sines.collect());
    }

    fn norm(&mut self, input: &str, weight: &Vector<'static>, output: &str) {
        let weight = self.vector(weight);
        let node = Node::new("SimplifiedLayerNormalization", &[input, &weight], &[output]);
        let eps = self.config.norm_eps;
        self.node(node.with("axis", -1_i64).with("epsilon", eps).with("stash_type", 1_i64));
    }

    /// Adds, and normalises the sum. Returns the name of the sum.
    fn add_and_norm(
        &mut self,
        [one, other]: [&str; 2],
        weight: &Vector<'static>,
        output: &str,
    ) -> String {
        let weight = self.vector(weight);
        let sum = format!("{output}.sum");
        let node = Node::new(
            "SkipSimplifiedLayerNormalization",
            &[one, other, &weight],
            &[output, "", "", &sum],
        );
        self.node(node.of(MICROSOFT).with("epsilon", self.config.norm_eps));
        sum
    }

    /// Multiplies by a matrix.
    fn matrix(&mut self, input: &str, matrix: &Matrix<'static>, output: &str) {
        let (rows, columns, name) = (matrix.rows, matrix.columns, matrix.name.as_str());
        match &matrix.storage {
            Storage::F32(bytes) => self.plain(input, matrix, Numbers::F32(bytes), output),
            Storage::F16(_) | Storage::BF16(_) => {
                let mut all = vec![0.0_f32; rows * columns];
                for (row, out) in all.chunks_exact_mut(columns).enumerate() {
                    matrix.row(row, out);
                }
                let all: &'static [f32] = Vec::leak(all);
                self.plain(input, matrix, Numbers::F32(bytemuck::cast_slice(all)), output);
            }
            Storage::Q8(blocks) | Storage::Q4(blocks) => {
                let count = columns / BLOCK;
                let (bits, size) =
                    if matrix.storage.kind() == Kind::Q4 { (4, BLOCK / 2) } else { (8, BLOCK) };
                let [codes, scales, zeros] =
                    ["blocks", "scales", "zero_points"].map(|part| format!("{name}.{part}"));
                let is_new = self.is_new(&codes);
                if is_new {
                    self.weight(&codes, &[rows, count, size], Numbers::U8(blocks.blocks));
                    self.weight(&scales, &[rows, count], Numbers::F32(blocks.scales));
                }
                let mut inputs = vec![input, codes.as_str(), scales.as_str()];
                if let Some(bytes) = blocks.zero_points {
                    if is_new {
                        self.weight(&zeros, &[rows, bytes.len() / rows], Numbers::U8(bytes));
                    }
                    inputs.push(zeros.as_str());
                }
                let node = Node::new("MatMulNBits", &inputs, &[output]).of(MICROSOFT);
                let node = node.with("K", columns as i64).with("N", rows as i64);
                let node = node.with("bits", bits as i64).with("block_size", BLOCK as i64);
                self.node(node.with("accuracy_level", ACCURACY));
            }
        }
    }

    fn is_new(&self, name: &str) -> bool {
        !self.weights.iter().any(|weight| weight.name == name)
    }

    fn plain(&mut self, input: &str, matrix: &Matrix<'static>, numbers: Numbers, output: &str) {
        if self.is_new(&matrix.name) {
            self.weight(&matrix.name, &[matrix.rows, matrix.columns], numbers);
        }
        let node = Node::new("FusedMatMul", &[input, &matrix.name], &[output]).of(MICROSOFT);
        self.node(node.with("transB", 1_i64));
    }

    /// A query, a key or a value: multiplied, with its bias, each head normalised.
    fn projection(
        &mut self,
        input: &str,
        matrix: &Matrix<'static>,
        [bias, norm]: [Option<&Vector<'static>>; 2],
    ) -> String {
        let mut output = format!("{}.out", matrix.name);
        self.matrix(input, matrix, &output);
        if let Some(bias) = bias {
            let bias = self.vector(bias);
            let sum = format!("{output}.biased");
            self.node(Node::new("Add", &[&output, &bias], &[&sum]));
            output = sum;
        }
        let Some(norm) = norm else { return output };
        let size = self.config.head_size as usize;
        let [split, normed, joined] =
            ["split", "normed", "joined"].map(|part| format!("{output}.{part}"));
        let heads = [0, 0, (matrix.rows / size) as i64, size as i64];
        self.reshape(&output, &heads, &split);
        self.norm(&split, norm, &normed);
        self.reshape(&normed, &[0, 0, matrix.rows as i64], &joined);
        joined
    }

    /// Zeros stand for sizes that stay as they are.
    fn reshape(&mut self, input: &str, shape: &[i64], output: &str) {
        let name = format!("{output}.shape");
        self.graph.initialisers.push(Tensor::new(&name, &[shape.len() as i64], shape));
        self.node(Node::new("Reshape", &[input, &name], &[output]));
    }

    /// A layer. Returns the names of its normed answer and of its answer.
    fn layer(
        &mut self,
        number: usize,
        layer: &hospes_decoder::Layer<'static>,
        [normed, states]: [&str; 2],
        after: &Vector<'static>,
    ) -> (String, String) {
        let bias = |at: usize| layer.biases.as_ref().and_then(|all| all.get(at));
        let norm = |at: usize| layer.head_norms.as_ref().and_then(|all| all.get(at));
        let query = self.projection(normed, &layer.query, [bias(0), norm(0)]);
        let key = self.projection(normed, &layer.key, [bias(1), norm(1)]);
        let value = self.projection(normed, &layer.value, [bias(2), None]);
        let [attended, output, middle, gate, up, gated, down, next] =
            ["attended", "output", "middle", "gate", "up", "gated", "down", "next"]
                .map(|part| format!("layer.{number}.{part}"));
        let [keys, values] = [0, 1].map(|part| past(number, part));
        let inputs: [&str; 9] =
            [&query, &key, &value, &keys, &values, LENGTHS, TOTAL, "cosines", "sines"];
        let [new_keys, new_values] = [0, 1].map(|part| present(number, part));
        let outputs: [&str; 3] = [&attended, &new_keys, &new_values];
        let attention = Node::new("GroupQueryAttention", &inputs, &outputs).of(MICROSOFT);
        let heads = i64::from(self.config.heads);
        let attention = attention.with("num_heads", heads).with("do_rotary", 1_i64);
        self.node(attention.with("kv_num_heads", i64::from(self.config.kv_heads)));
        self.matrix(&attended, &layer.output, &output);
        let states = self.add_and_norm([&output, states], &layer.post_norm, &middle);
        self.matrix(&middle, &layer.gate, &gate);
        self.matrix(&middle, &layer.up, &up);
        let sigmoid = format!("{gate}.sigmoid");
        let swish = format!("{gate}.swish");
        self.node(Node::new("Sigmoid", &[&gate], &[&sigmoid]));
        self.node(Node::new("Mul", &[&gate, &sigmoid], &[&swish]));
        self.node(Node::new("Mul", &[&swish, &up], &[&gated]));
        self.matrix(&gated, &layer.down, &down);
        let states = self.add_and_norm([&down, &states], after, &next);
        (next, states)
    }

    /// The logits after the last token only.
    fn head(&mut self, decoder: &Decoder<'static>, normed: &str) {
        self.graph.initialisers.push(Tensor::new("last", &[1], &[-1_i64]));
        self.node(Node::new("Gather", &[normed, "last"], &[HIDDEN]).with("axis", 1_i64));
        self.matrix(HIDDEN, &decoder.head(), LOGITS);
    }

    fn finish(mut self, config: &Config) -> Written {
        let float = |name: &str, shape: &[Size]| ValueInfo::tensor(name, ElementType::FLOAT, shape);
        let named = |name: &str| Size::Named(name.to_owned());
        let size = |size: u32| Size::Fixed(size.into());
        let (hidden, vocabulary) = (size(config.hidden), size(config.vocabulary));
        let rows = named("rows");
        let mut inputs = vec![
            float(STATES, &[rows.clone(), named("width"), hidden.clone()]),
            ValueInfo::tensor(LENGTHS, ElementType::INT32, std::slice::from_ref(&rows)),
            ValueInfo::tensor(TOTAL, ElementType::INT32, &[]),
        ];
        let one = Size::Fixed(1);
        let mut outputs = vec![
            float(LOGITS, &[rows.clone(), one.clone(), vocabulary]),
            float(HIDDEN, &[rows.clone(), one, hidden]),
        ];
        let kept = [rows, size(config.kv_heads), named("length"), size(config.head_size)];
        for layer in 0..config.layers as usize {
            for part in 0..2 {
                inputs.push(float(&past(layer, part), &kept));
                outputs.push(float(&present(layer, part), &kept));
            }
        }
        let names = |values: &[ValueInfo]| values.iter().map(|value| value.name.clone()).collect();
        let (input_names, output_names) = (names(&inputs), names(&outputs));
        (self.graph.inputs, self.graph.outputs) = (inputs, outputs);
        let mut model = Model::new(self.graph, OPSET);
        model.import(MICROSOFT, 1);
        Written {
            graph: model.encode(),
            weights: self.weights,
            inputs: input_names,
            outputs: output_names,
        }
    }
}

/// A layer's keys (0) or values (1) as they go in, and as they come out.
fn past(layer: usize, part: usize) -> String {
    format!("past.{layer}.{part}")
}

fn present(layer: usize, part: usize) -> String {
    format!("present.{layer}.{part}")
}
