"""The langchain-openai package. usage: langchain_chat.py HOST:PORT KEY"""

import json
import sys

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

ADDRESS, KEY = sys.argv[1:]
MODEL = "acme/parrot-next"


@tool
def weather(city: str) -> str:
    """Tells the weather."""
    return f"rain in {city}"


CALLING = {"say": [{"call": ["c1", "weather"]}, {"arguments": '{"city":'}, {"arguments": '"Bonn"}'}]}

for responses in [False, True]:
    chat = ChatOpenAI(
        model=MODEL, base_url=f"http://{ADDRESS}/v1", api_key=KEY, max_retries=0, use_responses_api=responses,
        stream_usage=True,
    )
    said = chat.invoke([SystemMessage("Be brief."), HumanMessage("one two")])
    assert said.text == "one two" and said.usage_metadata["input_tokens"] == 4, said
    bound = chat.bind_tools([weather])
    asked = bound.invoke([HumanMessage(json.dumps(CALLING))])
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [("weather", {"city": "Bonn"})], asked
    # The pieces of a stream add up to the same: names are concatenated.
    added = None
    for piece in bound.stream([HumanMessage(json.dumps(CALLING))]):
        added = piece if added is None else added + piece
    assert [(call["name"], call["args"]) for call in added.tool_calls] == [("weather", {"city": "Bonn"})], added
    answer = ToolMessage(weather.invoke({"city": "Bonn"}), tool_call_id="c1")
    asked = AIMessage("", tool_calls=asked.tool_calls)
    again = bound.invoke([HumanMessage("a"), asked, answer, HumanMessage("thanks")])
    assert again.text == "thanks", again
    structured = chat.with_structured_output(
        {"title": "city", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        method="json_schema",
    )
    assert structured.invoke(json.dumps({"say": [{"text": '{"city": "Bonn"}'}]})) == {"city": "Bonn"}
print("ok")
