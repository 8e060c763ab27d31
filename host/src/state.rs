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

/// A map that shares with its copies what was not changed since: a copy costs nothing, a change as much as the map is deep. What calls
/// look up is in such maps, and whoever changes one makes a copy and puts it in the place of the old one.
type Shared<K, V> = rpds::HashTrieMapSync<K, V, foldhash::fast::RandomState>;
