//! The items of a response, built piece by piece, and the events that tell of them.

use serde_json::{Value as Json, json};

use super::super::gathered::logprobs;
use super::super::told::{Chosen, Finish, Piece, Text};

/// A response's items so far.
#[derive(Debug)]
pub(super) struct Output {
    /// What makes the items' ids unique.
    call: String,
    items: Vec<Item>,
    /// Whether the last item goes on.
    is_open: bool,
    /// Whether the client wants log probabilities.
    logprobs: bool,
    pub(super) finish: Option<Finish>,
}

/// One item.
#[derive(Debug)]
enum Item {
    Message { text: String, logprobs: Vec<Json> },
    Reasoning { text: String },
    Call { id: String, name: String, arguments: String },
}

/// An event without its number.
pub(super) type Event = (&'static str, Json);

impl Output {
    pub(super) fn new(call: String, logprobs: bool) -> Self {
        Self { call, items: Vec::new(), is_open: false, logprobs, finish: None }
    }

    /// Adds a piece. `call_id` completes the id of a call of a tool.
    pub(super) fn add(
        &mut self,
        piece: Piece,
        call_id: impl Fn(&str, u32) -> String,
        events: &mut Vec<Event>,
    ) {
        match piece {
            Piece::Text(Text { text, logprobs: chosen, .. }) => {
                if !matches!(self.open(), Some(Item::Message { .. })) {
                    let item = Item::Message { text: String::new(), logprobs: Vec::new() };
                    self.begin(item, events);
                }
                self.text(&text, &chosen, events);
            }
            Piece::Reasoning(Text { text, .. }) => {
                if !matches!(self.open(), Some(Item::Reasoning { .. })) {
                    self.begin(Item::Reasoning { text: String::new() }, events);
                }
                self.text(&text, &[], events);
            }
            Piece::Call { call, id, name, .. } => {
                let id = call_id(&id, call);
                self.begin(Item::Call { id, name, arguments: String::new() }, events);
            }
            Piece::Arguments { text, .. } => self.text(&text, &[], events),
            Piece::End { finish, .. } => {
                self.finish = Some(finish);
                self.close(events);
            }
        }
    }

    fn open(&self) -> Option<&Item> {
        self.items.last().filter(|_| self.is_open)
    }

    /// Begins an item after the end of the one before.
    fn begin(&mut self, item: Item, events: &mut Vec<Event>) {
        self.close(events);
        let place = self.items.len();
        let is_call = matches!(item, Item::Call { .. });
        let part = item.part("");
        self.items.push(item);
        self.is_open = true;
        let added = self.item(place, "in_progress");
        events.push(("response.output_item.added", json!({"output_index": place, "item": added})));
        if !is_call {
            events.push(("response.content_part.added", self.within(place, &[("part", part)])));
        }
    }

    /// Adds to the open item.
    fn text(&mut self, more: &str, chosen: &[Chosen], events: &mut Vec<Event>) {
        let place = self.items.len().saturating_sub(1);
        let tokens = if self.logprobs { logprobs(chosen) } else { Vec::new() };
        let Some(item) = self.items.last_mut() else { return };
        let (name, delta) = match item {
            Item::Message { text, logprobs } => {
                text.push_str(more);
                logprobs.extend(tokens.iter().cloned());
                ("response.output_text.delta", vec![("logprobs", json!(tokens))])
            }
            Item::Reasoning { text } => {
                text.push_str(more);
                ("response.reasoning_text.delta", Vec::new())
            }
            Item::Call { arguments, .. } => {
                arguments.push_str(more);
                ("response.function_call_arguments.delta", Vec::new())
            }
        };
        let members = [delta, vec![("delta", json!(more))]].concat();
        events.push((name, self.within(place, &members)));
    }

    /// Ends the open item.
    fn close(&mut self, events: &mut Vec<Event>) {
        let place = self.items.len().saturating_sub(1);
        let Some(item) = self.open() else { return };
        match item {
            Item::Message { text, logprobs } => {
                let done = [("text", json!(text)), ("logprobs", json!(logprobs))];
                events.push(("response.output_text.done", self.within(place, &done)));
                let part = [("part", item.part(text))];
                events.push(("response.content_part.done", self.within(place, &part)));
            }
            Item::Reasoning { text } => {
                let done = [("text", json!(text))];
                events.push(("response.reasoning_text.done", self.within(place, &done)));
                let part = [("part", item.part(text))];
                events.push(("response.content_part.done", self.within(place, &part)));
            }
            Item::Call { name, arguments, .. } => {
                let done = [("name", json!(name)), ("arguments", json!(arguments))];
                events.push(("response.function_call_arguments.done", self.within(place, &done)));
            }
        }
        let item = self.item(place, self.status());
        events.push(("response.output_item.done", json!({"output_index": place, "item": item})));
        self.is_open = false;
    }

    /// The members of an event about the inside of an item.
    fn within(&self, place: usize, members: &[(&'static str, Json)]) -> Json {
        let mut event = json!({"item_id": self.id(place), "output_index": place});
        if !matches!(self.items.get(place), Some(Item::Call { .. })) {
            event["content_index"] = json!(0);
        }
        for (name, value) in members {
            event[*name] = value.clone();
        }
        event
    }

    /// The status of an item that ends now.
    fn status(&self) -> &'static str {
        match self.finish {
            Some(Finish::Length) => "incomplete",
            Some(Finish::Stop | Finish::Calls) | None => "completed",
        }
    }

    fn id(&self, place: usize) -> String {
        let prefix = match self.items.get(place) {
            Some(Item::Message { .. }) | None => "msg",
            Some(Item::Reasoning { .. }) => "rs",
            Some(Item::Call { .. }) => "fc",
        };
        format!("{prefix}_{}_{place}", self.call)
    }

    fn item(&self, place: usize, status: &str) -> Json {
        let id = self.id(place);
        // A part is there from its own event on.
        let parts = |item: &Item, text: &str| match status {
            "in_progress" => json!([]),
            _ => json!([item.part(text)]),
        };
        match self.items.get(place) {
            Some(item @ Item::Message { text, .. }) => json!({
                "type": "message", "id": id, "status": status, "role": "assistant",
                "content": parts(item, text),
            }),
            Some(item @ Item::Reasoning { text }) => json!({
                "type": "reasoning", "id": id, "status": status, "summary": [],
                "content": parts(item, text),
            }),
            Some(Item::Call { id: call, name, arguments }) => json!({
                "type": "function_call", "id": id, "status": status, "call_id": call,
                "name": name, "arguments": arguments,
            }),
            None => Json::Null,
        }
    }

    /// All items, of which the last may have been cut short.
    pub(super) fn whole(&self) -> Vec<Json> {
        let last = self.items.len().saturating_sub(1);
        let status = |place| match place == last {
            true if self.is_open => "incomplete",
            true => self.status(),
            false => "completed",
        };
        (0..self.items.len()).map(|place| self.item(place, status(place))).collect()
    }
}

impl Item {
    fn part(&self, text: &str) -> Json {
        match self {
            Item::Message { logprobs, .. } => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
            }
            Item::Reasoning { .. } | Item::Call { .. } => {
                json!({"type": "reasoning_text", "text": text})
            }
        }
    }
}
