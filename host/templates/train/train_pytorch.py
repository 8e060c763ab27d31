"""Trains two convolutions and three linear layers on Fashion-MNIST, as on SageMaker, and tells each epoch as a line of JSON."""

import gzip
import json
import os

import numpy
import torch
from torch import nn

settings = json.loads(os.environ["SM_HPS"])
torch.manual_seed(settings["seed"])
torch.set_num_threads(int(os.environ["SM_NUM_CPUS"]))


def idx(name, header):
    with gzip.open(os.path.join(os.environ["SM_CHANNEL_TRAIN"], name)) as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=header)


def read(part):
    pictures = idx(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28).copy()
    return torch.from_numpy(pictures), torch.from_numpy(idx(f"{part}-labels-idx1-ubyte.gz", 8).astype(numpy.int64))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )

    def forward(self, image):
        # In the model, so that it is served as it was trained.
        return self.layers((image.unsqueeze(1).float() - 72.94) / 90.02)


pictures, classes = read("train")
test_pictures, test_classes = read("t10k")
net = Net()
rule = torch.optim.SGD(net.parameters(), settings["lr"], momentum=0.9)
for epoch in range(1, settings["epochs"] + 1):
    total = 0.0
    for chosen in torch.randperm(len(pictures)).split(64):
        rule.zero_grad()
        loss = nn.functional.cross_entropy(net(pictures[chosen]), classes[chosen])
        loss.backward()
        rule.step()
        total += loss.item() * len(chosen)
    with torch.no_grad():
        right = torch.cat([net(some).argmax(1) for some in test_pictures.split(500)]) == test_classes
    metrics = {"loss": total / len(pictures), "accuracy": right.float().mean().item()}
    with open(os.environ["HOSPES_EVENTS"], "a") as events:
        events.write(json.dumps({"epoch": epoch, "metrics": metrics, "progress": epoch / settings["epochs"]}) + "\n")

torch.onnx.export(
    net, test_pictures[:2], os.path.join(os.environ["SM_MODEL_DIR"], "model.onnx"), opset_version=17,
    input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
)
with torch.no_grad():
    answers = net(test_pictures[:64]).numpy()
numpy.savez(
    os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "answers.npz"), image=test_pictures[:64].numpy(), logits=answers
)
