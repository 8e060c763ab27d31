//! What a host keeps, one module a question: who is who, what is deployed, what is offered, agreed on, negotiated, what was called,
//! and what the operator has withdrawn.
//!
//! Calls are answered from memory. None of these knows HTTP, and none runs a guest.

pub mod accounts;
pub mod agreements;
pub mod deployments;
pub mod market;
pub mod negotiations;
pub mod receipts;
pub mod withdrawals;
