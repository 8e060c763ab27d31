use super::*;
use crate::chat::{Code, Schema};

struct Assists;

impl Assistant for Assists {
    const MODEL: &'static str = "model";
}

fn options() -> Options {
    Options {
        max_tokens: None,
        temperature: None,
        top_p: None,
        top_k: None,
        min_p: None,
        frequency_penalty: None,
        presence_penalty: None,
        stop: Vec::new(),
        seed: None,
        logit_bias: Vec::new(),
        logprobs: None,
        choices: 1,
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        parallel_tool_calls: true,
        format: Format::Text,
        reasoning_effort: None,
        template_values: None,
    }
}

fn tool(name: &str, parameters: Option<&str>) -> Tool {
    let parameters = parameters.map(str::to_owned);
    Tool { name: name.to_owned(), description: None, parameters, strict: false }
}

fn refused<T>(result: Result<T, Refusal>) -> (Code, Option<&'static str>) {
    match result {
        Ok(_) => panic!("it is not refused"),
        Err(refusal) => (refusal.code, refusal.param),
    }
}

#[test]
fn a_named_tool_is_the_only_one_and_must_be_called() {
    let mut options = options();
    options.tools = vec![tool("add", Some(r#"{"type":"object"}"#)), tool("sub", None)];
    options.tool_choice = ToolChoice::Named("sub".to_owned());
    let tools = Tools::of(&options, Some(ToolFormat::Hermes)).expect("tools");
    assert_eq!((tools.names(), tools.forced), (vec!["sub".to_owned()], Some(ToolFormat::Hermes)));
    let (Some(Grammar::JsonSchema(schema)), "tools") = grammar(&options, &tools).expect("one")
    else {
        panic!("a call has a schema");
    };
    assert!(schema.contains(r#""const":"sub""#) && !schema.contains(r#""add""#), "{schema}");
    options.tool_choice = ToolChoice::None;
    assert!(Tools::of(&options, Some(ToolFormat::Hermes)).expect("tools").list.is_empty());
}

#[test]
fn what_cannot_be_done_with_tools_is_refused_by_the_member_s_name() {
    let mut options = options();
    options.tool_choice = ToolChoice::Required;
    let format = Some(ToolFormat::Llama);
    assert_eq!(refused(Tools::of(&options, format)), (Code::Invalid, Some("tool_choice")));
    options.tools = vec![tool("add", Some("[]"))];
    assert_eq!(refused(Tools::of(&options, format)), (Code::Invalid, Some("tools")));
    assert_eq!(refused(Tools::of(&options, None)), (Code::Unsupported, Some("tools")));
    options.tools = vec![tool("add", None)];
    options.tool_choice = ToolChoice::Named("sub".to_owned());
    assert_eq!(refused(Tools::of(&options, format)), (Code::Invalid, Some("tool_choice")));
    options.tool_choice = ToolChoice::Auto;
    options.format = Format::Json;
    let tools = Tools::of(&options, format).expect("tools");
    let both = (Code::Unsupported, Some("response_format"));
    assert_eq!(refused(grammar(&options, &tools)), both);
    options.choices = 9;
    assert_eq!(refused(choices(&options)), (Code::Invalid, Some("n")));
}

#[test]
fn a_format_is_a_grammar_and_beside_tools_one_that_allows_both() {
    let mut options = options();
    let schema = |schema: &str| {
        let schema = schema.to_owned();
        Format::JsonSchema(Schema { name: "point".to_owned(), schema, strict: true })
    };
    options.format = schema("{");
    let none = Tools::default();
    assert_eq!(refused(grammar(&options, &none)), (Code::Invalid, Some("response_format")));
    // The members keep their order: the model writes them in it.
    options.format = schema(r#"{"type":"object","properties":{"y":{},"x":{}}}"#);
    let Ok((Some(Grammar::JsonSchema(found)), _)) = grammar(&options, &none) else {
        panic!("a schema");
    };
    assert_eq!(found, r#"{"type":"object","properties":{"y":{},"x":{}}}"#);
    options.tools = vec![tool("add", None)];
    let tools = Tools::of(&options, Some(ToolFormat::Hermes)).expect("tools");
    let Ok((Some(Grammar::Lark(lark)), _)) = grammar(&options, &tools) else { panic!("both") };
    assert!(lark.contains("answer: %json {\"type\":\"object\""), "{lark}");
}

#[test]
fn answers_of_one_request_have_seeds_of_their_own() {
    let mut options = options();
    options.seed = Some(-1);
    let seed = |choice| sampling::<Assists>(&options, None, choice).seed;
    assert_eq!((seed(0), seed(1)), (Some(u64::MAX), Some(0)));
    options.seed = None;
    assert_eq!(sampling::<Assists>(&options, None, 1).seed, None);
}
