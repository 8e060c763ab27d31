//! Guests that speak with language models.

use system_tests::{TestHost, wat_guest};

#[test]
fn a_guest_may_import_language_without_async_and_is_told_which_models_there_are() {
    let host = TestHost::start();
    let acme = host.party("acme");
    // It imports none of the interface's `async` functions, and yet all that it imports is linked.
    host.publish(&acme, &wat_guest("ask-model", &[]));
    let asked = host.call(&acme, "acme/ask-model/ask").json(r#"{"model":"smollm2"}"#).send();
    assert_eq!(asked.ok().text(), "105", "the bundle has no such model: `invalid`");
}
