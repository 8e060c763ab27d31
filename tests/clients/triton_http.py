"""Both clients of tritonclient.http. usage: triton_http.py HOST:PORT KEY"""

import asyncio
import sys

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException
from tensors import TENSORS, model, row, same

ADDRESS, KEY = sys.argv[1:]


def headers():
    """New headers for each call, because the client adds its own to the given ones."""
    return {"Authorization": f"Bearer {KEY}"}


def tensor(name, data, datatype, binary=True):
    made = triton.InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data, binary_data=binary)
    return made


def sync():
    client = triton.InferenceServerClient(ADDRESS, concurrency=4)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("acme/simple", headers=headers())
    assert not client.is_model_ready("acme/none", headers=headers())
    assert client.get_server_metadata()["name"] == "hospes"
    metadata = client.get_model_metadata("acme/simple", headers=headers())
    assert metadata["inputs"][0]["shape"] == [-1, 16], metadata
    assert client.get_model_config("acme/simple", headers=headers())["max_batch_size"] == 4096
    names = {entry["name"] for entry in client.get_model_repository_index(headers=headers())}
    assert "acme/simple" in names, names

    for datatype, data in TENSORS.items():
        for binary in (True, False):
            if not binary and datatype == "FP16":
                continue  # this client cannot send it as JSON
            if not binary and data.dtype.kind == "f":
                data = data[np.isfinite(data)]  # JSON lacks these numbers
            inputs = [tensor("x", data, datatype, binary)]
            outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
            result = client.infer(model(datatype), inputs, outputs=outputs, headers=headers(), request_id="7")
            assert result.get_response()["id"] == "7"
            same(data, result.as_numpy("y"))
        # All outputs by default, with a named version.
        result = client.infer(model(datatype), [tensor("x", data, datatype)], model_version="1.0.0", headers=headers())
        same(data, result.as_numpy("y"))
        for coding in ("gzip", "deflate"):
            result = client.infer(
                model(datatype),
                [tensor("x", data, datatype)],
                headers=headers(),
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
            )
            same(data, result.as_numpy("y"))

    empty = np.zeros((0,), dtype=np.float32)
    same(empty, client.infer("acme/identity-fp32", [tensor("x", empty, "FP32")], headers=headers()).as_numpy("y"))
    scalar = np.array(2.5, dtype=np.float32)
    same(scalar, client.infer("acme/scalar", [tensor("x", scalar, "FP32")], headers=headers()).as_numpy("y"))

    inputs = [tensor("INPUT0", row(3), "INT32"), tensor("INPUT1", row(1), "INT32")]
    asked = [client.async_infer("acme/simple", inputs, headers=headers()) for _ in range(8)]
    for one in asked:
        result = one.get_result()
        same(row(4), result.as_numpy("OUTPUT0"))
        same(row(2), result.as_numpy("OUTPUT1"))
    # A name without a publisher refers to the operator's default publisher.
    same(row(4), client.infer("simple", inputs, headers=headers(), timeout=5_000_000, priority=1).as_numpy("OUTPUT0"))
    classes = [triton.InferRequestedOutput("OUTPUT0", class_count=2)]
    result = client.infer("simple", inputs, outputs=classes, headers=headers())
    assert result.as_numpy("OUTPUT0").tolist() == [[b"60:15", b"56:14"]], result.as_numpy("OUTPUT0")

    statistics = client.get_inference_statistics("acme/simple", headers=headers())
    assert statistics["model_stats"][0]["inference_count"] >= 9, statistics
    for wrong, text in [
        (lambda: client.infer("acme/none", inputs, headers=headers()), "unknown model: 'acme/none'"),
        (lambda: client.infer("acme/simple", inputs[:1], headers=headers()), "missing required input(s) ['INPUT1']"),
        (lambda: client.infer("acme/simple", inputs), "API key"),
        (lambda: client.load_model("acme/none", headers=headers()), "acme/none"),
    ]:
        try:
            wrong()
        except InferenceServerException as error:
            assert text in str(error), error
        else:
            raise AssertionError(f"not refused: {text}")
    client.close()


async def aio():
    async with triton_aio.InferenceServerClient(ADDRESS) as client:
        assert await client.is_server_live()
        for datatype, data in TENSORS.items():
            result = await client.infer(model(datatype), [tensor("x", data, datatype)], headers=headers())
            same(data, result.as_numpy("y"))
        inputs = [tensor("INPUT0", row(3), "INT32"), tensor("INPUT1", row(1), "INT32")]
        results = await asyncio.gather(*[client.infer("acme/simple", inputs, headers=headers()) for _ in range(8)])
        for result in results:
            same(row(4), result.as_numpy("OUTPUT0"))


sync()
asyncio.run(aio())
print("ok")
