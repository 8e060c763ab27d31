//! What of an answer may leave the host: the best few results, rounded numbers, named fields, labels without scores.
//!
//! The guest is not trusted: it may want to smuggle out what the agreement keeps in, in other fields, in the order of entries, in
//! the payload of a NaN, in digits that nobody looks at, in the length of a list. So what is released is a function of the
//! permitted projection only:
//!
//! 1. *Fields.* With `fields`, members of records and outputs that it does not name are dropped. Without, none is for its name.
//! 2. *What can carry anything.* With any of `top_k`, `decimals` and `label_only`, integers, characters, texts, bytes, and tensors of
//!    integers or byte strings are released only as, or within, what `fields` names. `bool`, `enum` and `flags` are closed and pass.
//! 3. *Numbers.* Floating-point numbers are rounded to `decimals`; NaN becomes the one canonical NaN, negative zero and subnormal
//!    numbers become zero. Tensors of FP16 and BF16 become FP32, for they cannot hold most decimals.
//! 4. *Ranked lists.* With `top_k` or `label_only`, a list of records or tuples that have a number is ranked: their first number is
//!    the score, other numbers are dropped unless named. The list is sorted by score as it is released, equal ones by the bytes of the
//!    rest, and cut to `top_k`. Other lists are cut too, but for lists of lists (batches) and of numbers.
//! 5. *Scores by position.* With `top_k`, a list of numbers, and each row along the last axis of a floating-point tensor, keeps its
//!    largest `top_k`; the others become negative infinity.
//! 6. *Labels only.* Scores are used and then dropped; scores by position become the positions of the largest, best first.
//!
//! What cannot be held to this is refused, not let through. The module knows no agreements and no guests; what is outside of
//! the answer (the time it takes) is not its business.

mod number;
mod plan;
mod tensors;
#[cfg(test)]
mod tests;

use hospes_core::tensor::{Tensor, TensorError};
use hospes_core::value::{Type, Value};

/// What of an answer may leave the host. What is `None`, or false, is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// Most entries of ranked lists, most scores by position.
    pub top_k: Option<u32>,
    /// Most digits after the point, 0 to 9.
    pub decimals: Option<u8>,
    /// Members of records and names of outputs that are released.
    pub fields: Option<Box<[Box<str>]>>,
    /// No scores, only what they point at.
    pub label_only: bool,
}

/// Why an answer cannot be held to what may leave the host.
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
    /// Whether nothing is limited: the answer passes untouched.
    pub fn is_open(&self) -> bool {
        !self.restricts() && self.fields.is_none()
    }

    /// Whether what can carry anything has to be named.
    fn restricts(&self) -> bool {
        self.top_k.is_some() || self.decimals.is_some() || self.label_only
    }

    /// Entries that are left of what is ranked; none if nothing is.
    fn ranked(&self) -> Option<usize> {
        let most = self.top_k.or(self.label_only.then_some(1))?;
        Some(usize::try_from(most).unwrap_or(usize::MAX).max(1))
    }

    fn names(&self, field: &str) -> bool {
        self.fields.as_ref().is_some_and(|fields| fields.iter().any(|name| **name == *field))
    }

    /// Checks that answers of this type can be held to these controls. Asked when a function is offered.
    ///
    /// # Errors
    /// [`ControlError`] names what stands in the way.
    pub fn check_type(&self, ty: &Type) -> Result<(), ControlError> {
        plan::of(self, ty).map(drop)
    }

    /// What of a value may leave the host, with the type that it has then.
    ///
    /// # Errors
    /// [`ControlError`]: then nothing of it may.
    pub fn value(&self, value: Value, ty: &Type) -> Result<(Value, Type), ControlError> {
        let (plan, narrowed) = plan::of(self, ty)?;
        Ok((plan.apply(self, value)?, narrowed))
    }

    /// What of named tensors may leave the host.
    ///
    /// # Errors
    /// [`ControlError`]: then nothing of them may.
    pub fn tensors(
        &self,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>, ControlError> {
        tensors::project(self, outputs)
    }
}
