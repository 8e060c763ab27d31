from common import session
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Model(MLModel):
    async def load(self):
        self.model = session()
        return True

    async def predict(self, payload):
        name = self.model.get_inputs()[0].name
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = self.model.run(None, {name: rows})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", output)])
