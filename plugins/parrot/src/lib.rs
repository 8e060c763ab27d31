//! Returns its arguments as streams of every kind. The host's tests use it to check streams.

use exports::hospes::parrot::voices::{self, GuestVoice};
use exports::hospes::plugin::chat::{self, Finish, Message, Options, Piece, Summary};
use hospes_sdk::__private::wit_bindgen::{self, StreamReader, StreamWriter};

hospes_sdk::plugin!("hospes:parrot/parrot", default_allocator);

/// The plugin.
struct Parrot;

impl voices::Guest for Parrot {
    type Voice = Word;
}

/// The word that a voice repeats.
struct Word(String);

impl GuestVoice for Word {
    fn new(word: String) -> Self {
        Self(word)
    }

    async fn say(&self, times: u32) -> StreamReader<String> {
        let word = self.0.clone();
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            for _ in 0..times {
                if writer.write_one(word.clone()).await.is_some() {
                    return;
                }
            }
        });
        reader
    }
}

impl Guest for Parrot {
    async fn count(count: u32) -> StreamReader<u32> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            for number in 0..count {
                if writer.write_one(number).await.is_some() {
                    return;
                }
            }
        });
        reader
    }

    async fn words(text: String) -> StreamReader<String> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            for word in text.split_whitespace() {
                if writer.write_one(word.to_owned()).await.is_some() {
                    return;
                }
            }
        });
        reader
    }

    async fn bytes(count: u32, value: u8) -> StreamReader<u8> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            let mut left = count as usize;
            while left > 0 {
                let part = left.min(10_000);
                if !writer.write_all(vec![value; part]).await.is_empty() {
                    return;
                }
                left -= part;
            }
        });
        reader
    }

    async fn spell(v: Tensor) -> StreamReader<u8> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            writer.write_all(v.data()).await;
        });
        reader
    }

    async fn segments(count: u32) -> Result<StreamReader<Segment>, String> {
        if count == 0 {
            return Err("there is nothing to say".to_owned());
        }
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            for number in 0..count {
                let label = (number % 2 == 1).then(|| format!("number {number}"));
                let (start, end) = (f64::from(number), f64::from(number + 1));
                if writer.write_one(Segment { start, end, label }).await.is_some() {
                    return;
                }
            }
        });
        Ok(reader)
    }

    async fn fall(after: u32) -> StreamReader<u32> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            for number in 0..after {
                writer.write_one(number).await;
            }
            panic!("by intent");
        });
        reader
    }

    async fn forever() -> StreamReader<u64> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            let mut number = 0;
            while writer.write_one(number).await.is_none() {
                number += 1;
            }
        });
        reader
    }

    fn echo(text: String) -> String {
        text
    }
}

impl chat::Guest for Parrot {
    async fn complete(
        messages: Vec<Message>,
        options: Options,
    ) -> Result<StreamReader<Piece>, String> {
        let said = messages.last().ok_or("nobody has said anything")?.content.clone();
        if said.is_empty() {
            return Err("there is nothing to repeat".to_owned());
        }
        let prompt = messages.iter().map(|message| tokens(&message.content)).sum();
        let (writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(repeat(writer, said, options, prompt));
        Ok(reader)
    }
}

export!(Parrot);

fn tokens(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// One token per word, up to a stop word or the maximum number of tokens.
async fn repeat(mut writer: StreamWriter<Piece>, said: String, options: Options, prompt: u32) {
    let most = options.max_tokens.unwrap_or(u32::MAX);
    let (mut spoken, mut finish) = (0, Finish::Stop);
    for word in said.split_whitespace() {
        if options.stop.iter().any(|stop| stop == word) {
            break;
        }
        if spoken == most {
            finish = Finish::Length;
            break;
        }
        let space = if spoken == 0 { "" } else { " " };
        if writer.write_one(Piece::Text(format!("{space}{word}"))).await.is_some() {
            return;
        }
        spoken += 1;
    }
    let summary = Summary { finish, prompt_tokens: prompt, completion_tokens: spoken };
    writer.write_one(Piece::End(summary)).await;
}
