"""The openai package. usage: openai_sdk.py HOST:PORT KEY"""

import sys

import openai

ADDRESS, KEY = sys.argv[1:]
client = openai.OpenAI(base_url=f"http://{ADDRESS}/v1", api_key=KEY, max_retries=0)


def refused(call, error, text):
    try:
        call()
    except error as seen:
        assert text in str(seen), seen
    else:
        raise AssertionError(f"not refused: {text}")


def embeddings():
    model = "acme/semantic-search"
    assert model in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(model).owned_by == "acme"
    # Without a format, this client requests base64 and decodes it.
    answer = client.embeddings.create(model=model, input=["a cat sits", "a feline sits", "stocks fell"])
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 9
    cat, feline, stocks = [entry.embedding for entry in answer.data]
    assert len(cat) == 384

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b))

    assert cosine(cat, feline) > 0.5 > cosine(cat, stocks)
    plain = client.embeddings.create(model=model, input="a cat sits", encoding_format="float")
    assert max(abs(x - y) for x, y in zip(plain.data[0].embedding, cat)) < 1e-6
    refused(lambda: client.embeddings.create(model="acme/none", input="x"), openai.NotFoundError, "acme/none")
    refused(lambda: client.embeddings.create(model="acme/echo", input="x"), openai.BadRequestError, "embeddings")
    refused(lambda: client.embeddings.create(model=model, input=[[1, 2]]), openai.BadRequestError, "tokens")
    refused(lambda: client.embeddings.create(model=model, input="x", dimensions=7), openai.BadRequestError, "dimensions")
    stranger = openai.OpenAI(base_url=f"http://{ADDRESS}/v1", api_key="nobody", max_retries=0)
    refused(lambda: stranger.embeddings.create(model=model, input="x"), openai.AuthenticationError, "API key")


def chat():
    model = "acme/parrot"
    messages = [
        {"role": "developer", "content": "repeat"},
        {"role": "user", "content": [{"type": "text", "text": "one two three four"}]},
    ]
    whole = client.chat.completions.create(model=model, messages=messages, temperature=0.5, seed=7)
    assert whole.choices[0].message.content == "one two three four", whole
    assert whole.choices[0].finish_reason == "stop"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (5, 4, 9)
    short = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=2)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("one two", "length")
    stopped = client.chat.completions.create(model=model, messages=messages, stop=["three"])
    assert stopped.choices[0].message.content == "one two"

    parts = client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    text, finish, usage, ids = [], None, None, set()
    for part in parts:
        ids.add(part.id)
        usage = part.usage or usage
        for choice in part.choices:
            text.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    assert "".join(text) == "one two three four" and len(text) > 4, text
    assert finish == "stop" and usage.total_tokens == 9 and len(ids) == 1

    prompt = client.completions.create(model=model, prompt="a b c", max_tokens=2)
    assert (prompt.choices[0].text, prompt.choices[0].finish_reason) == ("a b", "length")
    parts = list(client.completions.create(model=model, prompt="a b c", stream=True))
    assert "".join(part.choices[0].text for part in parts) == "a b c"

    empty = [{"role": "user", "content": ""}]
    refused(
        lambda: client.chat.completions.create(model=model, messages=empty),
        openai.UnprocessableEntityError,
        "nothing to repeat",
    )
    refused(
        lambda: client.chat.completions.create(model=model, messages=empty, stream=True),
        openai.UnprocessableEntityError,
        "nothing to repeat",
    )
    refused(
        lambda: client.chat.completions.create(model=model, messages=messages, n=2), openai.BadRequestError, "`n`"
    )
    refused(
        lambda: client.chat.completions.create(model="acme/semantic-search", messages=messages),
        openai.BadRequestError,
        "hospes:plugin/chat",
    )


embeddings()
chat()
print("ok")
