use serde_json::json;

use super::*;

/// The events of a text that comes in pieces of so many characters, with equal ones that follow each other joined.
fn read(reader: Reader, text: &str, at_once: usize) -> Vec<Event> {
    let mut reader = reader;
    let characters: Vec<char> = text.chars().collect();
    let mut events = Vec::new();
    for piece in characters.chunks(at_once) {
        events.extend(reader.push(&piece.iter().collect::<String>()));
    }
    events.extend(reader.end());
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Text(before)), Event::Text(text))
            | (Some(Event::Reasoning(before)), Event::Reasoning(text)) => before.push_str(&text),
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn always(format: Option<ToolFormat>, text: &str, expected: &[Event]) {
    for at_once in 1..=text.chars().count() {
        let reader = Reader::new(format, vec!["add".to_owned()]);
        assert_eq!(read(reader, text, at_once), expected, "{text:?} by {at_once}");
    }
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Event {
    Event::Call { name: name.to_owned(), arguments: arguments.to_owned() }
}

const ADD: &str = r#"{"a":1,"b":"}</tool"}"#;

#[test]
fn calls_between_tags_are_read_however_they_come() {
    let tagged = format!("<tool_call>\n{{\"name\": \"add\", \"arguments\": {ADD}}}\n</tool_call>");
    always(Some(ToolFormat::Hermes), &tagged, &[call("add", ADD)]);
    let two = format!("Wait.\n\n{tagged}\n{tagged}");
    always(Some(ToolFormat::Hermes), &two, &[text("Wait."), call("add", ADD), call("add", ADD)]);
    let cut = tagged.trim_end_matches("</tool_call>");
    always(Some(ToolFormat::Hermes), cut, &[call("add", ADD)]);
}

#[test]
fn what_is_no_call_is_text_as_it_was_written() {
    for none in [
        "<tool_call>\nadd 1\n</tool_call>",
        "<tool_call>{\"name\": 7}</tool_call>",
        "a <tool_cal b",
        "1 < 2 ",
        "<tool_call>{\"name\": \"add\", \"argum",
        "<thi",
        "[TOOL_CALLS]",
    ] {
        always(Some(ToolFormat::Hermes), none, &[text(none)]);
    }
    let tagged = "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>";
    always(None, tagged, &[text(tagged)]);
    always(Some(ToolFormat::Mistral), "[TOOL_CALLS] none", &[text("[TOOL_CALLS] none")]);
}

#[test]
fn an_answer_that_is_json_is_a_call_only_of_a_tool_that_there_is() {
    let format = Some(ToolFormat::Llama);
    always(format, r#"{"name": "add", "parameters": {"a": 1}}"#, &[call("add", r#"{"a":1}"#)]);
    let two = r#"<|python_tag|>{"name": "add", "parameters": {}}; {"name": "add"}"#;
    always(format, two, &[call("add", "{}"), call("add", "{}")]);
    for none in [r#"{"name": "Bob", "parameters": {}}"#, r#"{"answer": 4}"#, "{", "<|python"] {
        always(format, none, &[text(none)]);
    }
}

#[test]
fn calls_after_their_marker_are_read_in_both_forms() {
    let format = Some(ToolFormat::Mistral);
    let list = r#"[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}, {"name": "sub"}]"#;
    always(format, list, &[call("add", r#"{"a":1}"#), call("sub", "{}")]);
    let named = r#"Sure.[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]sub[ARGS]{}"#;
    always(format, named, &[text("Sure."), call("add", r#"{"a":1}"#), call("sub", "{}")]);
}

#[test]
fn reasoning_stands_apart() {
    let thought = "<think>\nTwo and two.\n</think>\n\nFour.";
    always(None, thought, &[Event::Reasoning("Two and two.".to_owned()), text("Four.")]);
    let cut = "<think>\nTwo and";
    always(None, cut, &[Event::Reasoning("Two and".to_owned())]);
    let begun = read(Reader::of_reasoning(None, Vec::new()), "so</think>4", 1);
    assert_eq!(begun, [Event::Reasoning("so".to_owned()), text("4")]);
}

#[test]
fn a_forced_call_needs_no_opening_and_its_schema_names_the_tools() {
    let names = vec!["add".to_owned()];
    let hermes = Reader::of_call(ToolFormat::Hermes, names.clone());
    assert_eq!(read(hermes, r#"{"name":"add","arguments":{}}"#, 3), [call("add", "{}")]);
    let mistral = Reader::of_call(ToolFormat::Mistral, names);
    assert_eq!(read(mistral, r#"[{"name":"add","arguments":{}}]"#, 3), [call("add", "{}")]);
    let tools = [("add".to_owned(), json!({ "type": "object" }))];
    let schema = ToolFormat::Llama.schema(&tools);
    assert_eq!(schema["properties"]["parameters"], json!({ "type": "object" }));
    assert_eq!(schema["properties"]["name"], json!({ "const": "add" }));
    assert_eq!(ToolFormat::Hermes.schema(&[tools[0].clone(), tools[0].clone()])["anyOf"][1], {
        ToolFormat::Hermes.schema(&tools)
    });
}
