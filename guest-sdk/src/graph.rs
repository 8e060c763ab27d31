//! Models, by their names in the bundle's manifest.

use crate::bindings::wasi::nn::{graph, inference};
use crate::{Error, ErrorKind, Tensor};

/// A model of the bundle, ready to run.
///
/// ```no_run
/// # fn main() -> Result<(), hospes_sdk::Error> {
/// use hospes_sdk::{Graph, Tensor};
///
/// let flower = Tensor::new(&[1, 4], &[5.1_f32, 3.5, 1.4, 0.2])?;
/// let outputs = Graph::load("model")?.compute([("X", flower)])?;
/// let kind = outputs.get("label")?.to_vec::<i64>()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Graph {
    context: inference::GraphExecutionContext,
}

impl Graph {
    /// The model with this name in the manifest. The host has already loaded it, so this takes microseconds.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the bundle has no such model.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), hospes_sdk::Error> {
    /// let model = hospes_sdk::Graph::load("model")?;
    /// # Ok(()) }
    /// ```
    pub fn load(name: &str) -> Result<Self, Error> {
        let graph = graph::load_by_name(name)?;
        Ok(Self { context: graph.init_execution_context()? })
    }

    /// Computes the model's outputs from named inputs. The model keeps no state between computations.
    ///
    /// # Errors
    /// If an input's name, type or shape does not match the model, or the model fails.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), hospes_sdk::Error> {
    /// # use hospes_sdk::{Graph, Tensor};
    /// let tokens = Tensor::new(&[1, 2], &[101_i64, 102])?;
    /// let mask = Tensor::new(&[1, 2], &[1_i64, 1])?;
    /// let outputs = Graph::load("model")?.compute([("input_ids", tokens), ("attention_mask", mask)])?;
    /// # Ok(()) }
    /// ```
    pub fn compute<N: Into<String>>(
        &self,
        inputs: impl IntoIterator<Item = (N, Tensor)>,
    ) -> Result<Outputs, Error> {
        let inputs =
            inputs.into_iter().map(|(name, tensor)| (name.into(), tensor.into())).collect();
        let outputs = self.context.compute(inputs)?;
        Ok(Outputs(outputs.into_iter().map(|(name, handle)| (name, handle.into())).collect()))
    }
}

/// A model's outputs, in the model's order.
///
/// ```no_run
/// # fn show(outputs: hospes_sdk::Outputs) {
/// for (name, tensor) in outputs {
///     println!("{name}: {:?}", tensor.shape());
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    /// The output with this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the model has no such output.
    ///
    /// ```no_run
    /// # fn best(outputs: hospes_sdk::Outputs) -> Result<(), hospes_sdk::Error> {
    /// let logits = outputs.get("logits")?.to_vec::<f32>()?;
    /// # Ok(()) }
    /// ```
    pub fn get(&self, name: &str) -> Result<&Tensor, Error> {
        let found = self.0.iter().find(|(output, _)| output == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("the model has no output `{name}`; it has {names:?}");
            Error::new(ErrorKind::NotFound, message)
        })
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
