//! The page to talk to a language model in the browser: one page for every model, without anything from elsewhere.

use http::HeaderValue;

use super::super::answer::Answer;
use super::page::written;

pub(super) const SCRIPT: &str = include_str!("chat/chat.js");
pub(super) const STYLE: &str = include_str!("chat/chat.css");
const PAGE: &str = include_str!("chat/chat.html");

/// Only this host's own files, and nothing inside the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /{publisher}/{model}/docs/chat`. The page is the same everywhere and reveals nothing about the model.
pub(in crate::api) fn chat(path: &str) -> Answer {
    written(PAGE, path, HeaderValue::from_static(POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_code_of_its_own_that_its_policy_would_block() {
        assert!(!PAGE.contains("style=") && !PAGE.contains(" on") && !PAGE.contains("<style"));
        assert_eq!(PAGE.matches("<script ").count(), PAGE.matches("</script>").count());
        for name in ["chat.js", "chat.css", "favicon-32x32.png"] {
            assert!(PAGE.contains(&format!("{{root}}api/docs/{name}")), "{name}");
        }
        // What a model says is text, whatever it says.
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval"));
    }
}
