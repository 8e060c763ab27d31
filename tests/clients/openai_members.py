"""The openai package, with members that the host must refuse or ignore. usage: openai_members.py HOST:PORT KEY"""

import sys

import openai

ADDRESS, KEY = sys.argv[1:]
client = openai.OpenAI(base_url=f"http://{ADDRESS}/v1", api_key=KEY, max_retries=0)
MESSAGES = [{"role": "user", "content": "one two"}]


def refused(member, **more):
    try:
        client.chat.completions.create(model="acme/parrot", messages=MESSAGES, **more)
    except openai.BadRequestError as error:
        assert error.param == member and member in error.message, error
    else:
        raise AssertionError(f"not refused: {member}")


# The package omits missing members and sends None as null.
answer = client.chat.completions.create(
    model="acme/parrot", messages=MESSAGES, stop=None, temperature=None, max_tokens=None, n=None, seed=None, tools=[],
    user="u", metadata={"a": "b"}, store=False, service_tier="auto", logit_bias=None, response_format={"type": "text"},
)
assert answer.choices[0].message.content == "one two"
# A received message is sent back unchanged, with all members.
again = [*MESSAGES, answer.choices[0].message, {"role": "user", "content": "three"}]
assert client.chat.completions.create(model="acme/parrot", messages=again).choices[0].message.content == "three"
again = [*MESSAGES, answer.choices[0].message.model_dump(), {"role": "user", "content": "three"}]
assert client.chat.completions.create(model="acme/parrot", messages=again).choices[0].message.content == "three"

refused("logit_bias", logit_bias={"50256": -100})
refused("top_logprobs", top_logprobs=3)
refused("logprobs", logprobs=True)
refused("tool_choice", tool_choice="required")
refused("modalities", modalities=["text", "audio"])
refused("audio", audio={"voice": "alloy", "format": "wav"})
refused("reasoning_effort", reasoning_effort="high")
refused("top_k", extra_body={"top_k": 40})

for stream in client.chat.completions.create(
    model="acme/parrot", messages=MESSAGES, stream=True, stream_options={"include_usage": None}
):
    assert stream.usage is None
client.embeddings.create(model="acme/semantic-search", input="x", encoding_format=None, user="u")
assert client.completions.create(model="acme/parrot", prompt=["a b"], max_tokens=-1).choices[0].text == "a b"
print("ok")
