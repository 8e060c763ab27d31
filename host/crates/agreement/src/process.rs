//! How parties reach an agreement and change its state afterwards: one kind of signed statement for each step.

pub mod events;
pub(crate) mod mandate;
pub mod negotiation;
pub(crate) mod statement;
pub(crate) mod succession;
