"""Python's built-in clients and requests, refused while they are still sending. usage: early_refusals.py HOST:PORT KEY

Each sends 64 MiB where 16 MiB are allowed, without a key, or to a route that cannot accept it, and must receive the reason."""

import http.client
import json
import sys
import urllib.error
import urllib.request

import requests

ADDRESS, KEY = sys.argv[1:]
BODY = b"x" * (64 << 20)
CASES = [
    ("/acme/echo/echo-bytes", KEY, 413, "16777216"),
    ("/acme/echo/echo-bytes", "nobody", 401, "API key"),
    ("/v1/embeddings", KEY, 413, "16777216"),
    ("/v1/embeddings", "nobody", 401, "API key"),
    ("/v2/models/acme/echo/infer", KEY, 400, "does not take tensors"),
    ("/api/agreements", KEY, 413, "larger"),
    ("/api/nothing", KEY, 404, "nothing here"),
]


def standard(path, headers, body):
    connection = http.client.HTTPConnection(ADDRESS, timeout=60)
    connection.request("POST", path, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def chunked(path, headers, body):
    pieces = (body[at : at + (1 << 20)] for at in range(0, len(body), 1 << 20))
    connection = http.client.HTTPConnection(ADDRESS, timeout=60)
    connection.request("POST", path, body=pieces, headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def opened(path, headers, body):
    request = urllib.request.Request(f"http://{ADDRESS}{path}", data=body, headers=headers, method="POST")
    try:
        urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    raise AssertionError("not refused")


def requested(path, headers, body):
    answer = requests.post(f"http://{ADDRESS}{path}", data=body, headers=headers, timeout=60)
    return answer.status_code, answer.text


for path, key, status, words in CASES:
    for ask in [standard, chunked, opened, requested]:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/octet-stream"}
        seen, text = ask(path, headers, BODY)
        assert seen == status, (path, ask.__name__, seen, text)
        assert words in text, (path, ask.__name__, text)
        json.loads(text)
print("ok")
