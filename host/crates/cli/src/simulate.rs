//! A simulated call, for `offer simulate` and `agreement simulate`.

use clap::Args;
use serde_json::Value;

use super::Context;
use super::client::Post;
use super::failure::Failure;
use super::quantities::{self, Moment};
use super::screen::{Answer, printable};
use hospes_core::id::FunctionName;
use hospes_wire::agreements::{self as wire, Decision, Report};

/// The call.
#[derive(Debug, Args)]
pub struct SimulatedCall {
    /// The function to call.
    #[arg(long, value_name = "FUNCTION")]
    function: FunctionName,
    /// The size of its arguments.
    #[arg(long, value_name = "SIZE", value_parser = quantities::bytes, default_value = "0")]
    input_bytes: u64,
    /// The rows of its batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    rows: u64,
    /// The purpose to declare, as an IRI.
    #[arg(long, value_name = "IRI")]
    purpose: Option<String>,
    /// When the call begins [default: now].
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    at: Option<Moment>,
}

impl SimulatedCall {
    /// Asks the host. Exit code 1 if the call would be denied.
    pub fn run(self, context: &Context, path: &str) -> Result<Answer, Failure> {
        let now = context.clock.now();
        let post = Post::json(&wire::SimulatedCall {
            function: self.function,
            input_bytes: self.input_bytes,
            rows: self.rows,
            purpose: self.purpose,
            at: self.at.map(|at| at.resolve(now).to_string()),
        });
        let (json, report): (Value, Report) = context.client()?.post(path, post)?.document()?;
        let plain = printable(&page(&report));
        Ok(if report.decision == Decision::Permitted {
            Answer::new(plain, json)
        } else {
            Answer::Refused { plain, json }
        })
    }
}

fn page(report: &Report) -> String {
    let mut page = format!("this call would be {}", report.decision);
    if let Some(obstacle) = &report.obstacle {
        page += &format!("\n  {obstacle}");
    }
    for rule in &report.rules {
        page += &format!("\n{} is {}", rule.rule, rule.activation.to_lowercase());
        for one in &rule.constraints {
            let mark = if one.satisfaction == "Satisfied" { "ok" } else { "no" };
            page += &format!(
                "\n  {mark}  [{}] {} {} (wanted: {}; seen: {})",
                one.enforcement, one.clause, one.operand, one.wanted, one.seen
            );
        }
    }
    page
}
