//! What of a response may be released: the best few results, rounded numbers, named fields, labels without scores.
//!
//! The guest is not trusted: it may try to leak what the agreement protects through other fields, the order of entries, NaN payloads, low
//! digits, or the length of a list. So what is released depends only on the permitted projection:
//!
//! 1. *Fields.* With `fields`, record members and outputs that it does not name are dropped. Without it, no name matters.
//! 2. *What can carry anything.* With any of `top_k`, `decimals` and `label_only`, integers, characters, texts, bytes, and tensors of
//!    integers or byte strings are released only as, or within, what `fields` names. `bool`, `enum` and `flags` are closed and pass.
//! 3. *Numbers.* Floating-point numbers are rounded to `decimals`; NaN becomes the one canonical NaN, negative zero and subnormal
//!    numbers become zero. Tensors of FP16 and BF16 become FP32, for they cannot hold most decimals.
//! 4. *Ranked lists.* With `top_k` or `label_only`, a list of records or tuples that have a number is ranked: their first number is
//!    the score, other numbers are dropped unless named. The list is sorted by score as it is released, equal ones by the bytes of the
//!    rest, and cut to `top_k`. Other lists are cut too, but for lists of lists (batches) and of numbers.
//! 5. *Scores by position.* With `top_k`, a list of numbers, and each row along the last axis of a floating-point tensor, keeps its
//!    largest `top_k`; the others become negative infinity.
//! 6. *Labels only.* Scores are used and then dropped. Scores by position become the positions of the largest, best first.
//!
//! What cannot be restricted in this way is refused. This module knows no agreements and no guests. It does not cover side channels outside
//! the response, such as its timing.

mod number;
mod plan;
mod tensors;
#[cfg(test)]
mod tests;

use hospes_core::tensor::{Tensor, TensorError};
use hospes_core::value::{Type, Value};

/// What of a response may be released. `None` or false means unrestricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// Maximum entries of ranked lists and scores by position.
    pub top_k: Option<u32>,
    /// Maximum decimals, 0 to 9.
    pub decimals: Option<u8>,
    /// Record members and outputs that are released.
    pub fields: Option<Box<[Box<str>]>>,
    /// No scores, only what they rank.
    pub label_only: bool,
}

/// Why a response cannot be restricted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error(
        "{place} can carry anything, so under these terms it is released only as a field that `hospes:outputFields` names: name it there, or offer the function without output controls"
    )]
    CarriesAnything { place: String },
    #[error("no part of the response would be released: name fields in `hospes:outputFields`")]
    Nothing,
    #[error("the response does not match its type")]
    Mismatch,
    #[error("the released part is not a tensor")]
    Tensor(#[from] TensorError),
}

impl Controls {
    /// Whether nothing is restricted: the response is unchanged.
    pub fn is_open(&self) -> bool {
        !self.restricts() && self.fields.is_none()
    }

    /// Whether data that can carry anything must be named.
    fn restricts(&self) -> bool {
        self.top_k.is_some() || self.decimals.is_some() || self.label_only
    }

    /// Maximum ranked entries; `None` if unrestricted.
    fn ranked(&self) -> Option<usize> {
        let most = self.top_k.or(self.label_only.then_some(1))?;
        Some(usize::try_from(most).unwrap_or(usize::MAX).max(1))
    }

    fn names(&self, field: &str) -> bool {
        self.fields.as_ref().is_some_and(|fields| fields.iter().any(|name| **name == *field))
    }

    /// Checks that responses of this type can be restricted. Asked when a function is offered.
    ///
    /// # Errors
    /// [`ControlError`] names the reason.
    pub fn check_type(&self, ty: &Type) -> Result<(), ControlError> {
        plan::of(self, ty).map(drop)
    }

    /// The permitted part of a value, with its new type.
    ///
    /// # Errors
    /// [`ControlError`]: nothing may be released.
    pub fn value(&self, value: Value, ty: &Type) -> Result<(Value, Type), ControlError> {
        let (plan, narrowed) = plan::of(self, ty)?;
        Ok((plan.apply(self, value)?, narrowed))
    }

    /// The permitted part of named tensors.
    ///
    /// # Errors
    /// [`ControlError`]: nothing may be released.
    pub fn tensors(
        &self,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>, ControlError> {
        tensors::project(self, outputs)
    }
}
