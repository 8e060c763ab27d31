"""The openai package: usage: openai_sdk.py HOST:PORT KEY"""

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
    # Without a format this client asks for base64 and decodes it.
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


embeddings()
print("ok")
