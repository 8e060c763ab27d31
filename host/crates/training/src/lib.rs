//! Trainings of models: what a recipe says, how a trainer is run, and what it reports.
//!
//! A trainer is any program that keeps to the [`contract`], which is SageMaker's script mode: Hospes' own `hospes-train`, or a script
//! of the user's. This crate knows neither networks nor data formats, and runs no model.

pub mod contract;
pub mod dataset;
pub mod events;
mod listener;
mod log;
pub mod native;
pub mod prepare;
pub mod recipe;
pub mod report;
pub mod run;
#[cfg(test)]
mod tests;
pub mod weights;

pub use contract::Job;
pub use events::{Event, Events, Pattern};
pub use log::Log;
pub use native::Native;
pub use recipe::{Recipe, RecipeError, Trainer};
pub use report::Report;
pub use run::{Finished, Limits, RunError};
