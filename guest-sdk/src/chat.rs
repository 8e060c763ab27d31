//! A plugin that converses: the interface `hospes:plugin/chat`, by one decoder model of the bundle.
//!
//! [`chat!`](crate::chat!) exports it for a type that implements [`Assistant`]. That says which model speaks, and may change what the model
//! is told and how; the rest is done here: the chat template, tools, the formats of answers, several answers, and what was used.
//!
//! ```
//! use hospes_sdk::chat::{Assistant, Message, Options, Refusal, Role};
//!
//! struct Helper;
//!
//! impl Assistant for Helper {
//!     const MODEL: &'static str = "model";
//!
//!     fn prepare(messages: &mut Vec<Message>, _options: &mut Options) -> Result<(), Refusal> {
//!         if messages.iter().any(|message| message.content.contains("secret")) {
//!             return Err(Refusal::invalid("secrets are not discussed here", Some("messages")));
//!         }
//!         Ok(())
//!     }
//! }
//!
//! hospes_sdk::chat!(Helper);
//! # fn main() {}
//! ```

pub mod bindings;
mod prompt;
mod reader;
mod refusal;
mod request;
mod speak;
mod template;

use crate::language::{self, Sampling};

pub use bindings::exports::hospes::plugin0_2_0::chat::{
    ArgumentsPiece, Chosen, EndPiece, Finish, Format, Likely, Message, Options, Piece, Prompt,
    Role, Schema, TextPiece, Tool, ToolCall, ToolChoice, ToolPiece, Usage,
};
pub use reader::{Event, Reader, ToolFormat};
pub use refusal::{Code, Refusal};
pub use template::{Guard, Template, TemplateError};
pub use wit_bindgen::StreamReader;

use prompt::Prepared;

/// A plugin's part of a conversation.
pub trait Assistant: 'static {
    /// The decoder model's name in the manifest.
    const MODEL: &'static str;

    /// How the model writes the calls of tools; `None` for a model that cannot.
    const TOOLS: Option<ToolFormat> = Some(ToolFormat::Hermes);

    /// A chat template instead of the model's own, in Jinja.
    const TEMPLATE: Option<&'static str> = None;

    /// What templates know as `bos_token` and `eos_token`.
    const BEGIN_AND_END: (&'static str, &'static str) = ("", "");

    /// Changes what the model is told and how: guardrails, retrieval, a system's words.
    ///
    /// # Errors
    /// Why the conversation is refused.
    fn prepare(messages: &mut Vec<Message>, options: &mut Options) -> Result<(), Refusal> {
        let _ = (messages, options);
        Ok(())
    }

    /// How tokens are chosen, where a request does not say.
    fn sampling() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }
}

/// The next turn of a conversation. [`chat!`](crate::chat!) exports it.
///
/// # Errors
/// A [`Refusal`], as JSON.
#[doc(hidden)]
pub async fn complete<A: Assistant>(
    mut messages: Vec<Message>,
    mut options: Options,
) -> Result<StreamReader<Piece>, String> {
    let spoken = async {
        A::prepare(&mut messages, &mut options)?;
        let prepared = Prepared::of::<A>(&messages, &options)?;
        speak::speak::<A>(vec![prepared], &options).await
    };
    spoken.await.map_err(String::from)
}

/// What prompts go on with. [`chat!`](crate::chat!) exports it.
///
/// # Errors
/// A [`Refusal`], as JSON.
#[doc(hidden)]
pub async fn go_on<A: Assistant>(
    prompts: Vec<Prompt>,
    options: Options,
) -> Result<StreamReader<Piece>, String> {
    let prepared = prompts.into_iter().map(|prompt| Prepared::as_it_is(prompt, &options));
    let prepared: Result<Vec<_>, _> = prepared.collect();
    let spoken = async { speak::speak::<A>(prepared?, &options).await };
    spoken.await.map_err(String::from)
}

/// How many tokens a conversation's prompt has. [`chat!`](crate::chat!) exports it.
///
/// # Errors
/// A [`Refusal`], as JSON.
#[doc(hidden)]
pub fn count<A: Assistant>(
    mut messages: Vec<Message>,
    mut options: Options,
) -> Result<u32, String> {
    let mut counted = || {
        A::prepare(&mut messages, &mut options)?;
        let prepared = Prepared::of::<A>(&messages, &options)?;
        language::count(A::MODEL, &prepared.parts).map_err(Refusal::from)
    };
    counted().map_err(String::from)
}

/// Exports `hospes:plugin/chat` for a type that implements [`chat::Assistant`](crate::chat::Assistant). Call it once, at the root of the
/// crate. The plugin needs no bindings of its own; one that exports more uses [`plugin!`](crate::plugin!) too, for a world without `chat`.
#[macro_export]
macro_rules! chat {
    ($assistant:ty) => {
        const _: () = {
            use $crate::chat::bindings::exports::hospes::plugin0_2_0::chat as exported;

            struct Exported;

            impl exported::Guest for Exported {
                async fn complete(
                    messages: ::std::vec::Vec<$crate::chat::Message>,
                    options: $crate::chat::Options,
                ) -> ::std::result::Result<
                    $crate::chat::StreamReader<$crate::chat::Piece>,
                    ::std::string::String,
                > {
                    $crate::chat::complete::<$assistant>(messages, options).await
                }

                async fn go_on(
                    prompts: ::std::vec::Vec<$crate::chat::Prompt>,
                    options: $crate::chat::Options,
                ) -> ::std::result::Result<
                    $crate::chat::StreamReader<$crate::chat::Piece>,
                    ::std::string::String,
                > {
                    $crate::chat::go_on::<$assistant>(prompts, options).await
                }

                fn count(
                    messages: ::std::vec::Vec<$crate::chat::Message>,
                    options: $crate::chat::Options,
                ) -> ::std::result::Result<u32, ::std::string::String> {
                    $crate::chat::count::<$assistant>(messages, options)
                }
            }

    $crate::chat::bindings::export!(Exported with_types_in $crate::chat::bindings);

            $crate::__install!();
        };
    };
}
