//! Networks: a list of layers, computed by burn while training and written as ONNX nodes afterwards. One list for both, so that they
//! cannot differ.

use burn_tensor::module::{conv2d, linear, max_pool2d};
use burn_tensor::ops::{ConvOptions, MaxPoolOptions};
use burn_tensor::{Device, Tensor, activation};
use hospes_onnx::model::{Graph, Node, Tensor as Weights};
use hospes_training::Native;
use hospes_training::native::Architecture;

use crate::random::{Random, Use};

/// A network without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Layer {
    /// With stride 1. Its weight is this parameter, its bias the next.
    Convolution {
        parameter: usize,
        padding: usize,
    },
    Linear {
        parameter: usize,
    },
    Relu,
    /// The greatest of 2x2.
    Pool,
    Flatten,
}

/// A tensor that is learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub dims: Vec<usize>,
    /// How many inputs an output has.
    fan_in: usize,
}

/// Why a network cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error(
        "pictures of {width}x{height} pixels are too small for this network: use fewer `widths`, or `architecture = \"mlp\"`"
    )]
    Small { width: usize, height: usize },
    #[error(
        "the network would have {found} weights, the limit is {PARAMETERS_MAX}: use smaller `widths` or smaller pictures"
    )]
    Large { found: usize },
    #[error(
        "the first layer after the picture has 1 unit, which the backend tract does not take: use at least 2 in `widths`"
    )]
    One,
    #[error(
        "pruning with share {share} leaves 1 unit of the first layer after the picture, which the backend tract does not take: use a \
         smaller share, or larger `widths`"
    )]
    Pruned { share: f64 },
}

/// Most weights.
const PARAMETERS_MAX: usize = 200_000_000;

/// Builds a network, layer by layer.
struct Builder {
    net: Net,
    /// Of the values so far: channels and sides of pictures, or one number.
    shape: Vec<usize>,
}

impl Net {
    /// The network of a recipe for rows of this shape.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn new(native: &Native, shape: &[usize], outputs: usize) -> Result<Self, NetError> {
        let mut builder = Builder {
            net: Self { layers: Vec::new(), parameters: Vec::new() },
            shape: shape.to_vec(),
        };
        let given = |default: &[usize]| match native.widths.is_empty() {
            true => default.to_vec(),
            false => native.widths.clone(),
        };
        match native.architecture {
            Architecture::Lenet => {
                let widths = given(&[6, 16, 120, 84]);
                // As LeNet-5 has it, so that a picture of 28 pixels leaves 5.
                builder.convolution(widths[0], 5, 2)?.pool()?;
                builder.convolution(widths[1], 5, 0)?.pool()?;
                builder.flatten().linear(widths[2])?.relu().linear(widths[3])?.relu();
            }
            Architecture::Cnn => {
                for width in given(&[16, 32, 64]) {
                    builder.convolution(width, 3, 1)?.pool()?;
                }
                builder.flatten();
            }
            Architecture::Mlp => {
                builder.flatten();
                for width in given(&[128, 64]) {
                    builder.linear(width)?.relu();
                }
            }
            Architecture::Head => {
                builder.flatten();
            }
        }
        builder.linear(outputs)?;
        let net = builder.net;
        match native.prune.map(|prune| prune.share) {
            _ if net.units_of_pictures() == Some(1) => Err(NetError::One),
            Some(share) if net.units_of_pictures().map(|units| kept(units, share)) == Some(1) => {
                Err(NetError::Pruned { share })
            }
            _ => Ok(net),
        }
    }

    /// The units of a hidden layer that takes a picture's numbers. tract folds `Flatten` into its product, and cannot fold that of one unit.
    fn units_of_pictures(&self) -> Option<usize> {
        let flatten = self.layers.iter().position(|layer| *layer == Layer::Flatten)?;
        match self.layers[flatten + 1..] {
            [Layer::Linear { parameter }, _, ..] => self.parameters[parameter].dims.last().copied(),
            _ => None,
        }
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The network without the weakest channels and units of its hidden layers, and its weights. The weakest are those whose weights have
    /// the least sum of magnitudes (Li et al. 2017, "Pruning Filters for Efficient ConvNets").
    pub fn narrowed(&self, weights: &[Vec<f32>], share: f64) -> (Self, Vec<Vec<f32>>) {
        let (mut net, mut narrow) = (self.clone(), weights.to_vec());
        let layers: Vec<usize> = self.layers.iter().filter_map(|layer| layer.parameter()).collect();
        let mut before: Option<Kept> = None;
        for (at, parameter) in layers.iter().copied().enumerate() {
            let units = Units::of(&self.parameters[parameter], &weights[parameter]);
            let inputs = before
                .map_or_else(|| (0..units.inputs).collect(), |kept| kept.inputs(units.inputs));
            // The answers stay.
            let outputs = match at + 1 == layers.len() {
                true => (0..units.outputs).collect(),
                false => units.strongest(&inputs, share),
            };
            narrow[parameter] = units.only(&inputs, &outputs);
            narrow[parameter + 1] =
                outputs.iter().map(|unit| weights[parameter + 1][*unit]).collect();
            let shape = &mut net.parameters[parameter];
            shape.fan_in = inputs.len() * units.inner;
            match shape.dims.as_mut_slice() {
                [own, channels, _, _] => (*own, *channels) = (outputs.len(), inputs.len()),
                [before, own] => (*before, *own) = (inputs.len(), outputs.len()),
                _ => unreachable!("weights are of convolutions or of linear layers"),
            }
            let fan_in = shape.fan_in;
            let bias = &mut net.parameters[parameter + 1];
            (bias.dims, bias.fan_in) = (vec![outputs.len()], fan_in);
            before = Some(Kept { of: units.outputs, units: outputs });
        }
        (net, narrow)
    }

    /// The first weights: uniform within the square root of one by the inputs, as PyTorch has them.
    pub fn first_weights(&self, seed: u64) -> Vec<Vec<f32>> {
        let weights = self.parameters.iter().enumerate().map(|(at, parameter)| {
            let mut random = Random::new(seed, Use::Weights { parameter: at as u64 });
            let bound = 1.0 / (parameter.fan_in as f32).sqrt();
            (0..parameter.count()).map(|_| random.symmetric() * bound).collect()
        });
        weights.collect()
    }

    /// The answers for rows, `[rows, outputs]`. Parameters are flat.
    pub fn forward(
        &self,
        parameters: &[Tensor<1>],
        inputs: Vec<f32>,
        shape: &[usize],
        device: &Device,
    ) -> Tensor<2> {
        let rows = inputs.len() / shape.iter().product::<usize>().max(1);
        let flat = Tensor::<1>::from_data(
            burn_tensor::TensorData::new(inputs, [rows * shape.iter().product::<usize>()]),
            device,
        );
        let mut value = match *shape {
            [channels, height, width] => {
                Value::Planes(flat.reshape([rows, channels, height, width]))
            }
            _ => Value::Flat(flat.reshape([rows, shape.iter().product()])),
        };
        for layer in &self.layers {
            value = value.through(*layer, &self.parameters, parameters);
        }
        value.flat()
    }

    /// Adds the network to a graph that has `prepared`, with its answers as `output`.
    pub fn write(&self, graph: &mut Graph, weights: &[Vec<f32>], output: &str) {
        let mut from = "prepared".to_owned();
        for (at, layer) in self.layers.iter().enumerate() {
            let name = layer.name(at);
            let to =
                if at + 1 == self.layers.len() { output.to_owned() } else { format!("{name}_out") };
            let node = match layer {
                Layer::Convolution { parameter, padding } => {
                    let [weight, bias] =
                        [*parameter, parameter + 1].map(|at| self.parameters[at].name.clone());
                    let sides = self.parameters[*parameter].dims[2..]
                        .iter()
                        .map(|side| *side as i64)
                        .collect::<Vec<i64>>();
                    Node::new("Conv", &[&from, &weight, &bias], &[&to])
                        .with("kernel_shape", sides)
                        .with("pads", vec![*padding as i64; 4])
                }
                Layer::Linear { parameter } => {
                    let [weight, bias] =
                        [*parameter, parameter + 1].map(|at| self.parameters[at].name.clone());
                    Node::new("Gemm", &[&from, &weight, &bias], &[&to])
                }
                Layer::Relu => Node::new("Relu", &[&from], &[&to]),
                Layer::Pool => Node::new("MaxPool", &[&from], &[&to])
                    .with("kernel_shape", vec![2_i64, 2])
                    .with("strides", vec![2_i64, 2]),
                Layer::Flatten => Node::new("Flatten", &[&from], &[&to]).with("axis", 1_i64),
            };
            graph.nodes.push(node.named(name));
            from = to;
        }
        for (parameter, weights) in self.parameters.iter().zip(weights) {
            let dims: Vec<i64> = parameter.dims.iter().map(|dim| *dim as i64).collect();
            graph.initialisers.push(Weights::new(&*parameter.name, &dims, weights));
        }
    }
}

/// How many of a layer's channels or units pruning leaves.
fn kept(units: usize, share: f64) -> usize {
    ((units as f64 * (1.0 - share)).ceil() as usize).max(1)
}

/// What is kept of a layer's channels or units.
struct Kept {
    of: usize,
    units: Vec<usize>,
}

impl Kept {
    /// The places of what is kept among the inputs of the next layer. After `Flatten`, a channel is as many of them as it has pixels.
    fn inputs(&self, inputs: usize) -> Vec<usize> {
        let each = inputs / self.of;
        self.units.iter().flat_map(|unit| unit * each..(unit + 1) * each).collect()
    }
}

/// The weights of a layer by what they connect.
struct Units<'w> {
    weights: &'w [f32],
    inputs: usize,
    outputs: usize,
    /// Weights between an input and an output: those of a filter's plane, or one.
    inner: usize,
    is_linear: bool,
}

impl<'w> Units<'w> {
    fn of(shape: &Parameter, weights: &'w [f32]) -> Self {
        match *shape.dims.as_slice() {
            [inputs, outputs] => Self { weights, inputs, outputs, inner: 1, is_linear: true },
            [outputs, inputs, height, width] => {
                Self { weights, inputs, outputs, inner: height * width, is_linear: false }
            }
            _ => unreachable!("weights are of convolutions or of linear layers"),
        }
    }

    fn between(&self, input: usize, output: usize) -> &'w [f32] {
        let first = match self.is_linear {
            true => input * self.outputs + output,
            false => (output * self.inputs + input) * self.inner,
        };
        &self.weights[first..first + self.inner]
    }

    /// The outputs with the most weight from these inputs, in their order. At least one.
    fn strongest(&self, inputs: &[usize], share: f64) -> Vec<usize> {
        let strength = |output: usize| -> f64 {
            let weights = inputs.iter().flat_map(|input| self.between(*input, output));
            weights.map(|weight| f64::from(weight.abs())).sum()
        };
        let mut ordered: Vec<(f64, usize)> =
            (0..self.outputs).map(|output| (strength(output), output)).collect();
        ordered.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut kept: Vec<usize> =
            ordered.into_iter().take(kept(self.outputs, share)).map(|(_, output)| output).collect();
        kept.sort_unstable();
        kept
    }

    /// The weights between some inputs and outputs, in the layout of the layer.
    fn only(&self, inputs: &[usize], outputs: &[usize]) -> Vec<f32> {
        let between = |input: &usize, output: &usize| self.between(*input, *output).iter().copied();
        match self.is_linear {
            true => inputs
                .iter()
                .flat_map(|input| outputs.iter().flat_map(move |output| between(input, output)))
                .collect(),
            false => outputs
                .iter()
                .flat_map(|output| inputs.iter().flat_map(move |input| between(input, output)))
                .collect(),
        }
    }
}

impl Layer {
    /// The place of its weight among the parameters. Its bias is the next.
    fn parameter(&self) -> Option<usize> {
        match *self {
            Self::Convolution { parameter, .. } | Self::Linear { parameter } => Some(parameter),
            Self::Relu | Self::Pool | Self::Flatten => None,
        }
    }

    fn name(self, at: usize) -> String {
        let kind = match self {
            Self::Convolution { .. } => "conv",
            Self::Linear { .. } => "linear",
            Self::Relu => "relu",
            Self::Pool => "pool",
            Self::Flatten => "flatten",
        };
        format!("{kind}_{at}")
    }
}

impl Parameter {
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Builder {
    fn convolution(
        &mut self,
        width: usize,
        side: usize,
        padding: usize,
    ) -> Result<&mut Self, NetError> {
        let [channels, height, rows] = [self.shape[0], self.shape[1], self.shape[2]];
        let after =
            |size: usize| (size + 2 * padding).checked_sub(side - 1).filter(|size| *size > 0);
        let (Some(new_height), Some(new_width)) = (after(height), after(rows)) else {
            return Err(NetError::Small { width: rows, height });
        };
        let parameter =
            self.parameters(vec![width, channels, side, side], channels * side * side, width)?;
        self.net.layers.push(Layer::Convolution { parameter, padding });
        self.shape = vec![width, new_height, new_width];
        Ok(self.relu())
    }

    fn pool(&mut self) -> Result<&mut Self, NetError> {
        let (height, width) = (self.shape[1], self.shape[2]);
        if height < 2 || width < 2 {
            return Err(NetError::Small { width, height });
        }
        self.net.layers.push(Layer::Pool);
        self.shape = vec![self.shape[0], height / 2, width / 2];
        Ok(self)
    }

    fn relu(&mut self) -> &mut Self {
        self.net.layers.push(Layer::Relu);
        self
    }

    fn flatten(&mut self) -> &mut Self {
        if self.shape.len() > 1 {
            self.net.layers.push(Layer::Flatten);
            self.shape = vec![self.shape.iter().product()];
        }
        self
    }

    fn linear(&mut self, width: usize) -> Result<&mut Self, NetError> {
        let inputs = self.shape[0];
        let parameter = self.parameters(vec![inputs, width], inputs, width)?;
        self.net.layers.push(Layer::Linear { parameter });
        self.shape = vec![width];
        Ok(self)
    }

    /// Adds a weight and a bias.
    fn parameters(
        &mut self,
        dims: Vec<usize>,
        fan_in: usize,
        width: usize,
    ) -> Result<usize, NetError> {
        let at = self.net.parameters.len();
        let name = if dims.len() == 4 { "conv" } else { "linear" };
        let layer = self.net.layers.len();
        self.net.parameters.push(Parameter {
            name: format!("{name}_{layer}_weight"),
            dims,
            fan_in,
        });
        self.net.parameters.push(Parameter {
            name: format!("{name}_{layer}_bias"),
            dims: vec![width],
            fan_in,
        });
        let found = self.net.parameters.iter().map(Parameter::count).fold(0, usize::saturating_add);
        if found > PARAMETERS_MAX { Err(NetError::Large { found }) } else { Ok(at) }
    }
}

/// A value between layers.
enum Value {
    Planes(Tensor<4>),
    Flat(Tensor<2>),
}

impl Value {
    fn flat(self) -> Tensor<2> {
        match self {
            Self::Flat(tensor) => tensor,
            Self::Planes(tensor) => {
                let [rows, ..] = tensor.dims();
                let each = tensor.dims()[1..].iter().product::<usize>();
                tensor.reshape([rows, each])
            }
        }
    }

    fn through(self, layer: Layer, shapes: &[Parameter], parameters: &[Tensor<1>]) -> Self {
        match (layer, self) {
            (Layer::Convolution { parameter, padding }, Self::Planes(tensor)) => {
                let dims: [usize; 4] = std::array::from_fn(|at| shapes[parameter].dims[at]);
                let weight = parameters[parameter].clone().reshape(dims);
                let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
                Self::Planes(conv2d(
                    tensor,
                    weight,
                    Some(parameters[parameter + 1].clone()),
                    options,
                ))
            }
            (Layer::Linear { parameter }, value) => {
                let dims: [usize; 2] = std::array::from_fn(|at| shapes[parameter].dims[at]);
                let weight = parameters[parameter].clone().reshape(dims);
                Self::Flat(linear(value.flat(), weight, Some(parameters[parameter + 1].clone())))
            }
            (Layer::Relu, Self::Planes(tensor)) => Self::Planes(activation::relu(tensor)),
            (Layer::Relu, Self::Flat(tensor)) => Self::Flat(activation::relu(tensor)),
            (Layer::Pool, Self::Planes(tensor)) => {
                Self::Planes(max_pool2d(tensor, MaxPoolOptions::new([2, 2])))
            }
            (Layer::Flatten, value) => Self::Flat(value.flat()),
            (Layer::Convolution { .. } | Layer::Pool, Self::Flat(_)) => {
                unreachable!("the builder puts these before the linear layers")
            }
        }
    }
}
