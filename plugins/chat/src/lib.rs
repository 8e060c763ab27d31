//! Converses with SmolLM2-135M-Instruct. The SDK does all of it: this says which model speaks, and how it chooses its words.

use hospes_sdk::chat::Assistant;
use hospes_sdk::language::Sampling;

/// The plugin.
struct Chat;

impl Assistant for Chat {
    const MODEL: &'static str = "smollm2";
    const BEGIN_AND_END: (&'static str, &'static str) = ("<|im_start|>", "<|im_end|>");

    // As the model's authors recommend.
    fn sampling() -> Sampling {
        Sampling { temperature: 0.2, top_p: 0.9, ..Sampling::default() }
    }
}

hospes_sdk::chat!(Chat);
