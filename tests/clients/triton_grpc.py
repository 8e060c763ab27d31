"""Both clients of tritonclient.grpc, with streams, health and reflection. usage: triton_grpc.py HOST:PORT KEY"""

import asyncio
import queue
import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException
from tensors import TENSORS, model, row, same

ADDRESS, KEY = sys.argv[1:]
HEADERS = {"authorization": f"Bearer {KEY}"}


def tensor(name, data, datatype):
    made = triton.InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data)
    return made


def simple():
    return [tensor("INPUT0", row(3), "INT32"), tensor("INPUT1", row(1), "INT32")]


def sync():
    client = triton.InferenceServerClient(ADDRESS)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("acme/simple", headers=HEADERS)
    assert client.get_server_metadata().name == "hospes"
    metadata = client.get_model_metadata("acme/simple", headers=HEADERS)
    assert list(metadata.inputs[0].shape) == [-1, 16], metadata
    config = client.get_model_config("acme/simple", headers=HEADERS).config
    assert config.max_batch_size == 4096 and list(config.input[0].dims) == [16], config
    index = client.get_model_repository_index(headers=HEADERS)
    assert "acme/simple" in {entry.name for entry in index.models}, index

    for datatype, data in TENSORS.items():
        for compression in (None, "gzip", "deflate"):
            result = client.infer(
                model(datatype),
                [tensor("x", data, datatype)],
                headers=HEADERS,
                request_id="7",
                compression_algorithm=compression,
            )
            assert result.get_response().id == "7"
            same(data, result.as_numpy("y"))
    empty = np.zeros((0,), dtype=np.float32)
    same(empty, client.infer("acme/identity-fp32", [tensor("x", empty, "FP32")], headers=HEADERS).as_numpy("y"))
    scalar = np.array(2.5, dtype=np.float32)
    same(scalar, client.infer("acme/scalar", [tensor("x", scalar, "FP32")], headers=HEADERS).as_numpy("y"))
    classes = [triton.InferRequestedOutput("OUTPUT0", class_count=2)]
    result = client.infer("simple", simple(), outputs=classes, headers=HEADERS, timeout=5_000_000)
    assert result.as_numpy("OUTPUT0").tolist() == [[b"60:15", b"56:14"]], result.as_numpy("OUTPUT0")
    statistics = client.get_inference_statistics("acme/simple", headers=HEADERS)
    assert statistics.model_stats[0].inference_count >= 1, statistics

    for wrong, text, code in [
        (lambda: client.infer("acme/none", simple(), headers=HEADERS), "unknown model: 'acme/none'", "NOT_FOUND"),
        (lambda: client.infer("acme/simple", simple()[:1], headers=HEADERS), "missing required", "INVALID_ARGUMENT"),
        (lambda: client.infer("acme/simple", simple()), "API key", "UNAUTHENTICATED"),
        (lambda: client.load_model("acme/simple", headers=HEADERS), "acme/simple", "NOT_FOUND"),
    ]:
        try:
            wrong()
        except InferenceServerException as error:
            assert text in error.message(), error
            assert code in str(error.status()), error
        else:
            raise AssertionError(f"not refused: {text}")

    # A stream responds in the order of the requests, and a failed one does not end it.
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=HEADERS)
    for factor in range(5):
        inputs = [tensor("INPUT0", row(factor), "INT32"), tensor("INPUT1", row(1), "INT32")]
        client.async_stream_infer("acme/simple" if factor != 2 else "acme/none", inputs, request_id=str(factor))
    for factor in range(5):
        result, error = answers.get(timeout=10)
        if factor == 2:
            assert "acme/none" in str(error), error
        else:
            assert result.get_response().id == str(factor)
            same(row(factor + 1), result.as_numpy("OUTPUT0"))
    client.stop_stream()
    client.close()


async def aio():
    async with triton_aio.InferenceServerClient(ADDRESS) as client:
        for datatype, data in TENSORS.items():
            result = await client.infer(model(datatype), [tensor("x", data, datatype)], headers=HEADERS)
            same(data, result.as_numpy("y"))

        async def requests():
            for _ in range(3):
                yield {"model_name": "acme/simple", "inputs": simple()}

        answered = 0
        async for result, error in client.stream_infer(requests(), headers=HEADERS):
            assert error is None, error
            same(row(4), result.as_numpy("OUTPUT0"))
            answered += 1
        assert answered == 3


def standard():
    channel = grpc.insecure_channel(ADDRESS)
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert "inference.GRPCInferenceService" in services and "grpc.health.v1.Health" in services, services
    found = ProtoReflectionDescriptorDatabase(channel).FindFileContainingSymbol("inference.ModelInferRequest")
    assert found.package == "inference"
    # grpc.health.v1.Health/Check: HealthCheckRequest{} is empty, HealthCheckResponse{status: SERVING} is 08 01.
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x01"
    try:
        check(b"\x0a\x04none")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
    else:
        raise AssertionError("an unknown service is not found")


sync()
asyncio.run(aio())
standard()
print("ok")
