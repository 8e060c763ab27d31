//! Writes responses: JSON, followed by binary tensors, in one buffer.

use bytes::Bytes;

use super::classification::classify;
use crate::call::Encoder;
use crate::outcome::Reply;
use crate::state::deployments::Function;
use crate::tensor::{DataType, Tensor, json};
use crate::value::{Type, Value};

/// The form of response that a caller wants.
#[derive(Debug)]
pub(in crate::api) struct Encode {
    /// The model, as the caller names it.
    model: Box<str>,
    id: Option<String>,
    /// `None` wants all.
    outputs: Option<Vec<Wanted>>,
    /// Whether outputs are binary by default.
    binary: bool,
}

/// An output that a caller wants.
#[derive(Debug)]
pub(in crate::api) struct Wanted {
    pub(in crate::api) name: Box<str>,
    pub(in crate::api) binary: Option<bool>,
    /// The best classes of each row instead of the tensor.
    pub(in crate::api) classes: Option<usize>,
}

/// An output to be written, and whether as bytes.
pub(in crate::api) struct Chosen {
    pub(in crate::api) name: String,
    pub(in crate::api) tensor: Tensor,
    binary: bool,
}

impl Encode {
    pub(in crate::api) fn new(
        model: &str,
        id: Option<String>,
        outputs: Option<Vec<Wanted>>,
        binary: bool,
    ) -> Self {
        // An empty list also means all.
        let outputs = outputs.filter(|outputs| !outputs.is_empty());
        Self { model: model.into(), id, outputs, binary }
    }

    /// Every output as bytes: the response to a binary request.
    pub(in crate::api) fn all_binary(model: &str) -> Self {
        Self::new(model, None, None, true)
    }

    /// The model, as the caller names it.
    pub(in crate::api) fn model(&self) -> &str {
        &self.model
    }

    /// The caller's identifier of the request.
    pub(in crate::api) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Checks that a model without code has the outputs; for others that is known only afterwards.
    pub(in crate::api) fn suits(&self, function: &Function) -> Result<(), String> {
        let deployment = function.deployment();
        let Some(signature) = deployment.tensors().filter(|_| deployment.is_codeless()) else {
            return Ok(());
        };
        let known = |name: &str| signature.outputs.iter().any(|output| output.name == name);
        let unknown = self.outputs.iter().flatten().find(|wanted| !known(&wanted.name));
        unknown.map_or(Ok(()), |wanted| Err(self.unexpected(&wanted.name)))
    }

    fn unexpected(&self, output: &str) -> String {
        format!("unexpected inference output '{output}' for model '{}'", self.model)
    }

    /// The outputs that the caller wants, in that order.
    pub(in crate::api) fn choose(
        &self,
        function: &Function,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<Chosen>, String> {
        let Some(wanted) = &self.outputs else {
            let binary = self.binary;
            let all = outputs.into_iter().map(|(name, tensor)| Chosen { name, tensor, binary });
            return Ok(all.collect());
        };
        wanted
            .iter()
            .map(|wanted| {
                let found = outputs.iter().find(|(name, _)| *name == *wanted.name);
                let (name, tensor) = found.ok_or_else(|| self.unexpected(&wanted.name))?;
                let tensor = match wanted.classes {
                    Some(classes) => classify(tensor, classes, function.deployment().batches())?,
                    None => tensor.clone(),
                };
                let binary = wanted.binary.unwrap_or(self.binary);
                Ok(Chosen { name: name.clone(), tensor, binary })
            })
            .collect()
    }
}

impl Encoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        Encode::suits(self, function)
    }

    fn tensors(
        &self,
        function: &Function,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Reply, String> {
        let chosen = self.choose(function, outputs)?;
        let blobs = chosen.iter().filter(|output| output.binary);
        let blob_bytes: usize = blobs.map(|output| output.tensor.data().len()).sum();
        let mut out = Vec::with_capacity(256 * (chosen.len() + 1) + blob_bytes);
        self.head(function, &mut out);
        for (index, output) in chosen.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"" } else { b"," });
            output.write(&mut out)?;
        }
        out.extend_from_slice(b"]}");
        let head = (blob_bytes > 0).then_some(out.len());
        for output in chosen.iter().filter(|output| output.binary) {
            out.extend_from_slice(output.tensor.data());
        }
        Ok(Reply::Encoded { bytes: Bytes::from(out), head })
    }

    fn value(&self, _: &Function, _: Option<(Value, &Type)>) -> Result<Reply, String> {
        Err("the function does not answer with tensors".to_owned())
    }
}

impl Encode {
    fn head(&self, function: &Function, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(id) = &self.id {
            out.extend_from_slice(b"\"id\":");
            json::string(id, out);
            out.push(b',');
        }
        out.extend_from_slice(b"\"model_name\":");
        json::string(&self.model, out);
        out.extend_from_slice(b",\"model_version\":");
        json::string(&function.deployment().version().to_string(), out);
        out.extend_from_slice(b",\"outputs\":[");
    }
}

impl Chosen {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(b"{\"name\":");
        json::string(&self.name, out);
        out.extend_from_slice(b",\"datatype\":");
        json::string(self.tensor.data_type().name(), out);
        out.extend_from_slice(b",\"shape\":");
        json::shape(self.tensor.shape(), out);
        if self.binary {
            let bytes = self.tensor.data().len();
            out.extend_from_slice(
                format!(",\"parameters\":{{\"binary_data_size\":{bytes}}}}}").as_bytes(),
            );
            return Ok(());
        }
        // Some clients take any `parameters` here for those of a binary output, so there are none.
        out.extend_from_slice(b",\"data\":");
        json::data(&self.name, &self.tensor, out).map_err(|_| {
            let (name, ty) = (&self.name, DataType::Bytes);
            format!("output '{name}' is {ty} that is not text: ask for it with 'binary_data'")
        })?;
        out.push(b'}');
        Ok(())
    }
}
