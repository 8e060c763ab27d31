//! Converses with the language model that it is packed with: `hospes pack MODEL --guest`. The SDK does all of it. This says how the
//! model chooses its words, and what begins and ends its texts: as SmolLM2-135M-Instruct has it.

use hospes_sdk::chat::Assistant;
use hospes_sdk::language::Sampling;

/// The plugin.
struct Chat;

impl Assistant for Chat {
    // As `hospes pack` names it.
    const MODEL: &'static str = "model";
    const BEGIN_AND_END: (&'static str, &'static str) = ("<|im_start|>", "<|im_end|>");

    // As the model's authors recommend.
    fn sampling() -> Sampling {
        Sampling { temperature: 0.2, top_p: 0.9, ..Sampling::default() }
    }
}

hospes_sdk::chat!(Chat);
