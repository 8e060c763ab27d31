"""The openai package against version 0.2 of the chat interface. usage: openai_chat.py HOST:PORT KEY"""

import json
import sys

import openai
import pydantic

ADDRESS, KEY = sys.argv[1:]
client = openai.OpenAI(base_url=f"http://{ADDRESS}/v1", api_key=KEY, max_retries=0)
MODEL = "acme/parrot-next"


def turn(script):
    return [{"role": "user", "content": script if isinstance(script, str) else json.dumps(script)}]


class Weather(pydantic.BaseModel):
    """Tells the weather."""

    city: str
    days: list[int]


WEATHER = openai.pydantic_function_tool(Weather)
CALLING = {
    "say": [
        {"reason": "Where?"}, {"text": "I look. "}, {"call": ["c1", "Weather"]},
        {"arguments": '{"city": "Bonn",'}, {"arguments": '"days": [1, 2]}'},
    ]
}


def tools():
    answer = client.chat.completions.parse(model=MODEL, messages=turn(CALLING), tools=[WEATHER])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.content == "I look. "
    assert message.tool_calls[0].function.parsed_arguments == Weather(city="Bonn", days=[1, 2])
    assert message.reasoning_content == "Where?"
    again = [*turn("a"), message, {"role": "tool", "tool_call_id": "c1", "content": "rain"}, *turn("and now?")]
    assert client.chat.completions.create(model=MODEL, messages=again).choices[0].message.content == "and now?"
    with client.chat.completions.stream(model=MODEL, messages=turn(CALLING), tools=[WEATHER]) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [event.name for event in done] == ["Weather"]
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments == Weather(city="Bonn", days=[1, 2])


def formats():
    said = {"say": [{"text": '{"city": "Bonn", "days": []}'}]}
    answer = client.chat.completions.parse(model=MODEL, messages=turn(said), response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Bonn", days=[])
    refusal = {"code": "unsupported", "message": "`uniqueItems` is not supported", "param": "response_format"}
    try:
        client.chat.completions.create(model=MODEL, messages=turn({"refuse": json.dumps(refusal)}))
    except openai.BadRequestError as error:
        assert (error.param, error.code) == ("response_format", "unsupported"), error
    else:
        raise AssertionError("not refused")


def options():
    answer = client.chat.completions.create(
        model=MODEL, messages=turn("a b"), n=2, logprobs=True, top_logprobs=1, seed=7, extra_body={"top_k": 4}
    )
    assert [choice.message.content for choice in answer.choices] == ["a b", "a b #1"]
    assert answer.choices[0].logprobs.content[0].top_logprobs[0].bytes == list(b"a0")
    assert answer.system_fingerprint and answer.usage.prompt_tokens_details.cached_tokens == 0
    several = client.completions.create(model=MODEL, prompt=["a", "b"], echo=True)
    assert [choice.text for choice in several.choices] == ["aa", "bb"]
    assert client.completions.create(model=MODEL, prompt=[1, 2]).choices[0].text == "<1> <2>"


def responses():
    answer = client.responses.create(model=MODEL, input="a b", instructions="c")
    assert (answer.output_text, answer.status, answer.store) == ("a b", "completed", False)
    tool = {"type": "function", "name": "Weather", "parameters": Weather.model_json_schema(), "strict": True}
    seen = [
        event.type
        for event in client.responses.create(model=MODEL, input=json.dumps(CALLING), tools=[tool], stream=True)
    ]
    assert seen[0] == "response.created" and seen[-1] == "response.completed", seen
    with client.responses.stream(model=MODEL, input=json.dumps(CALLING), tools=[tool]) as stream:
        stream.until_done()
        final = stream.get_final_response()
    reasoning, message, call = final.output
    assert reasoning.content[0].text == "Where?" and message.content[0].text == "I look. "
    assert json.loads(call.arguments) == {"city": "Bonn", "days": [1, 2]}
    # What was received is sent back unchanged.
    history = [{"role": "user", "content": "a"}, *final.output]
    history += [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}, *turn("and now?")]
    assert client.responses.create(model=MODEL, input=history, tools=[tool]).output_text == "and now?"
    said = {"say": [{"text": '{"city": "Bonn", "days": []}'}]}
    parsed = client.responses.parse(model=MODEL, input=json.dumps(said), text_format=Weather)
    assert parsed.output_parsed == Weather(city="Bonn", days=[])
    counted = client.responses.input_tokens.count(model=MODEL, input="one two")
    assert counted.input_tokens == 2
    try:
        client.responses.create(model=MODEL, input="a", previous_response_id=answer.id)
    except openai.BadRequestError as error:
        assert error.param == "previous_response_id"
    else:
        raise AssertionError("not refused")


def failures():
    fall = {"say": [{"text": "a"}, {"fall": True}]}
    try:
        for _ in client.chat.completions.create(model=MODEL, messages=turn(fall), stream=True):
            pass
    except openai.APIError as error:
        assert "plugin" in str(error.code), error.code
    else:
        raise AssertionError("the stream did not fail")


tools()
formats()
options()
responses()
failures()
print("ok")
