//! What of an answer may leave the host.

use crate::tensor::Tensor;
use crate::value::{Type, Value};

/// What of an answer may leave the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    pub top_k: Option<u32>,
    pub decimals: Option<u8>,
    pub fields: Option<Box<[Box<str>]>>,
    pub label_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("mismatch")]
    Mismatch,
}

impl Controls {
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
    pub fn check_type(&self, _ty: &Type) -> Result<(), ControlError> {
        Ok(())
    }
    pub fn value(&self, value: Value, ty: &Type) -> Result<(Value, Type), ControlError> {
        Ok((value, ty.clone()))
    }
    pub fn tensors(
        &self,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>, ControlError> {
        Ok(outputs)
    }
}
