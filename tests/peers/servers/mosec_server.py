import os

from common import run, session
from mosec import Server, Worker


class Model(Worker):
    def __init__(self):
        self.model = session()

    def deserialize(self, data):
        return data

    def forward(self, data):
        return run(self.model, data)

    def serialize(self, data):
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=int(os.environ["WORKERS"]))
    server.run()
