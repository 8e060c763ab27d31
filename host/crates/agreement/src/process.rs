//! How parties come to agree and what happens to an agreement afterwards: signed statements, each of one kind.

pub mod events;
pub(crate) mod mandate;
pub mod negotiation;
pub(crate) mod statement;
pub(crate) mod succession;
