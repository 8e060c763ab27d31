//! Offers and agreements in plain language, for whoever is about to sign.
//!
//! Written from the same values that are compiled and enforced, so the page cannot promise what the host does not do. Each
//! clause says what the host does about it: *prevent* (it cannot happen), *detect* (it shows afterwards) or *record* (it is
//! written down).

use std::fmt::Write as _;

use super::document::{Agreement, Constraint, Offer, Permission, Policy};

/// What the host does about a clause.
#[derive(Clone, Copy)]
enum Enforcement {
    Prevent,
    Detect,
    Record,
}

impl Enforcement {
    fn label(self) -> &'static str {
        match self {
            Enforcement::Prevent => "[prevent]",
            Enforcement::Detect => "[detect] ",
            Enforcement::Record => "[record] ",
        }
    }
}

/// The page of an agreement.
pub fn render(agreement: &Agreement) -> String {
    let parties = format!(
        "Publisher: {}\nConsumer:  {}\nAccepted:  {}\nOffer:     {}\n",
        agreement.assigner(),
        agreement.assignee(),
        agreement.issued(),
        agreement.offer_id()
    );
    page("Agreement", &parties, &agreement.policy)
}

/// The page of an offer.
pub fn render_offer(offer: &Offer) -> String {
    let parties =
        format!("Publisher: {}\nConsumer:  whoever accepts this offer\n", offer.assigner());
    page("Offer", &parties, &offer.policy)
}

/// The permissions of an offer, one line each, for a list.
pub fn offer_lines(offer: &Offer) -> Vec<String> {
    let terms = |permission: &Permission| match permission.constraints.as_slice() {
        [] => "no limits".to_owned(),
        constraints => {
            let clauses: Vec<_> = constraints.iter().map(|limit| brief(*limit)).collect();
            clauses.join(", ")
        }
    };
    let line = |permission: &Permission| format!("{}: {}", permission.function, terms(permission));
    offer.permissions().iter().map(line).collect()
}

fn brief(constraint: Constraint) -> String {
    match constraint {
        Constraint::CountMax(1) => "1 call".to_owned(),
        Constraint::CountMax(max) => format!("at most {max} calls"),
        Constraint::From(at) => format!("from {at}"),
        Constraint::Before(at) => format!("before {at}"),
        Constraint::Until(at) => format!("until {at}"),
        Constraint::InputBytesMax(max) => format!("arguments of at most {max} bytes"),
        Constraint::OutputBytesMax(max) => format!("answers of at most {max} bytes"),
    }
}

fn page(kind: &str, parties: &str, policy: &Policy) -> String {
    let mut page =
        format!("{kind} to use {}\n\n{parties}Bundle:    {}\n", policy.model, policy.bundle);
    for (number, permission) in policy.permissions.iter().enumerate() {
        let _ = write!(page, "\nPermission {number}\n{}", clauses(permission));
    }
    page.push_str("\nFor all permissions\n");
    line(&mut page, Enforcement::Prevent, "Whatever no permission allows is refused.");
    line(&mut page, Enforcement::Prevent, "No other version of the model runs under these terms.");
    line(
        &mut page,
        Enforcement::Record,
        "Every call, and every refused call of the consumer, leaves a receipt.",
    );
    line(
        &mut page,
        Enforcement::Detect,
        "A receipt that was dropped or changed shows when receipts are verified.",
    );
    page.push_str(
        "\n[prevent] the host makes it impossible; [detect] it shows afterwards; [record] it is written down.\n",
    );
    page
}

fn clauses(permission: &Permission) -> String {
    let mut text = String::new();
    let execute = format!("The consumer may execute the function `{}`.", permission.function);
    line(&mut text, Enforcement::Prevent, &execute);
    for constraint in &permission.constraints {
        let (enforcement, clause) = clause(*constraint);
        line(&mut text, enforcement, &clause);
    }
    text
}

fn clause(constraint: Constraint) -> (Enforcement, String) {
    let clause = match constraint {
        Constraint::CountMax(1) => "One call in all.".to_owned(),
        Constraint::CountMax(max) => format!("At most {max} calls in all."),
        Constraint::From(at) => format!("Calls begin at {at} or later."),
        Constraint::Before(at) => format!("Calls begin before {at}."),
        Constraint::Until(at) => format!("Calls begin at {at} or earlier."),
        Constraint::InputBytesMax(max) => {
            format!("The arguments of a call are at most {max} bytes.")
        }
        Constraint::OutputBytesMax(max) => {
            format!("An answer of more than {max} bytes is not released.")
        }
    };
    // Nothing of this profile rests on anybody's word: the host checks each of these before it acts.
    (Enforcement::Prevent, clause)
}

fn line(page: &mut String, enforcement: Enforcement, clause: &str) {
    let _ = writeln!(page, "  {} {clause}", enforcement.label());
}
