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
        Ok(builder.net)
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
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

impl Layer {
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
