import os

import bentoml
from common import run, session
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

model = session()


async def infer(request):
    return Response(run(model, await request.body()), media_type="application/octet-stream")


# BentoML's typed functions take no raw body; this route is served by the same workers.
@bentoml.asgi_app(Starlette(routes=[Route("/infer", infer, methods=["POST"])]), path="/raw")
@bentoml.service(workers=int(os.environ["WORKERS"]))
class Model:
    @bentoml.api
    def ready(self) -> str:
        return "yes"
