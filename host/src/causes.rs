//! What an error says with all that caused it: each says its own part, and the rest is its cause's.

use std::error::Error;

/// An error and its causes, one behind the other.
pub fn of<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| <dyn Error>::source(*error))
}

/// The message of an error with those of its causes, once each: some errors repeat their causes' messages.
pub fn in_a_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in of(error).skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("the record is damaged")]
        Damaged(#[source] std::fmt::Error),
        #[error(transparent)]
        Same(#[from] std::num::ParseIntError),
    }

    #[test]
    fn each_message_is_there_once() {
        let damaged = Outer::Damaged(std::fmt::Error);
        let cause = std::fmt::Error.to_string();
        assert_eq!(in_a_line(&damaged), format!("the record is damaged: {cause}"));
        assert_eq!(of(&damaged).count(), 2);
        let number = "x".parse::<u8>().expect_err("no number");
        assert_eq!(in_a_line(&Outer::from(number.clone())), number.to_string());
    }
}
