"""Makes weights of PyTorch for `hospes convert --recipe`: of a LeNet and of a network of linear layers, each with the rows and its own answers.

usage: state_dicts.py FOLDER

Writes FOLDER/train-images-idx3-ubyte and train-labels-idx1-ubyte, pictures that a recipe can name as `train`; FOLDER/lenet.pt, a checkpoint of
a module with prefixed names, filters in another order of memory and an optimiser's tensors; FOLDER/mlp.pt, weights alone; FOLDER/<name>.npz.
They are not trained: converting does not depend on it.
"""

import sys
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.nn import functional

SIDE, CLASSES = 16, 3


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 2 * 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, CLASSES)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(torch.relu(self.fc2(x)))


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    random = numpy.random.default_rng(1)
    pictures = random.integers(0, 256, (60, SIDE, SIDE), numpy.uint8)
    labels = (numpy.arange(60) % CLASSES).astype(numpy.uint8)
    for name, kind, array in [("images-idx3", 3, pictures), ("labels-idx1", 1, labels)]:
        head = bytes([0, 0, 8, kind]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / f"train-{name}-ubyte").write_bytes(head + array.tobytes())
    x = (torch.from_numpy(pictures[:20]).float() / 255 - 0.3) / 0.4
    lenet = nn.DataParallel(LeNet()).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(lenet.parameters())
    lenet(x[:, None]).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 1, "model_state_dict": lenet.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save(checkpoint, folder / "lenet.pt")
    # Layers of one shape, which only their order tells apart.
    mlp = nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES)
    )
    torch.save(mlp.state_dict(), folder / "mlp.pt")
    with torch.no_grad():
        for name, module in [("lenet", lenet), ("mlp", mlp)]:
            numpy.savez(folder / f"{name}.npz", image=pictures[:20], expected=module.eval()(x[:, None]).numpy())


main()
