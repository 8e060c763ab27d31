import os
from typing import Annotated

import litserve
from common import run, session
from fastapi import Body, Response

Octets = Annotated[bytes, Body(media_type="application/octet-stream")]


class Model(litserve.LitAPI):
    def setup(self, device):
        self.model = session()

    def decode_request(self, request: Octets):
        return request

    def predict(self, data):
        return run(self.model, data)

    def encode_response(self, output):
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    workers = int(os.environ["WORKERS"])
    server = litserve.LitServer(Model(), accelerator="cpu", workers_per_device=workers)
    server.run(port=int(os.environ["PORT"]), host="127.0.0.1", num_api_servers=workers, access_log=False, generate_client_file=False)
