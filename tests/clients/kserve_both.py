"""The kserve package over REST and gRPC. usage: kserve_both.py HOST:PORT KEY"""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from tensors import TENSORS, model, row, same

ADDRESS, KEY = sys.argv[1:]


def headers():
    """New headers for each call, because the client adds its own to the given ones."""
    return {"authorization": f"Bearer {KEY}"}
URL = f"http://{ADDRESS}"


def request(name, inputs, binary):
    made = []
    for key, (data, datatype) in inputs.items():
        one = InferInput(name=key, shape=list(data.shape), datatype=datatype)
        one.set_data_from_numpy(data, binary_data=binary)
        made.append(one)
    return InferRequest(model_name=name, infer_inputs=made)


def output(response, name):
    return next(out for out in response.outputs if out.name == name).as_numpy()


async def rest():
    client = InferenceRESTClient(config=RESTConfig(protocol="v2"))
    assert await client.is_server_live(URL) and await client.is_server_ready(URL)
    assert await client.is_model_ready(URL, "acme/simple", headers=headers())
    for binary in (True, False):
        simple = request("acme/simple", {"INPUT0": (row(3), "INT32"), "INPUT1": (row(1), "INT32")}, binary)
        response = await client.infer(URL, simple, model_name="acme/simple", headers=headers())
        assert response.model_name == "acme/simple", response
        same(row(4), output(response, "OUTPUT0"))
    for datatype, data in TENSORS.items():
        asked = request(model(datatype), {"x": (data, datatype)}, True)
        response = await client.infer(URL, asked, model_name=model(datatype), headers=headers())
        same(data, output(response, "y"))
    await client.close()


async def grpc():
    client = InferenceGRPCClient(url=ADDRESS)
    assert await client.is_server_live() and await client.is_server_ready()
    assert await client.is_model_ready("acme/simple", headers=tuple(headers().items()))
    for datatype, data in TENSORS.items():
        asked = request(model(datatype), {"x": (data, datatype)}, datatype in ("FP16", "BYTES"))
        response = await client.infer(asked, headers=tuple(headers().items()))
        same(data, output(response, "y"))
    await client.close()


asyncio.run(rest())
asyncio.run(grpc())
print("ok")
