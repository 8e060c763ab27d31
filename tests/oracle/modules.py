"""Makes modules of PyTorch for `hospes convert`: a small net of convolutions, an LSTM, the weights of the first without it, and a module of a
class that is defined here.

usage: modules.py FOLDER

Writes FOLDER/<model>.pt and <model>.npz, the rows that both the module and its conversion compute. They are not trained: converting does not
depend on it.
"""

import sys
from pathlib import Path

import numpy
import torch
from torch import nn


class Own(nn.Sequential):
    pass


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    random = numpy.random.default_rng(1)
    convolutions = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3), nn.Softmax(1)
    )
    for name, module, shape in [
        ("convolutions", convolutions, (20, 1, 8, 8)),
        ("lstm", nn.LSTM(5, 7, batch_first=True), (20, 6, 5)),
    ]:
        torch.save(module.eval(), folder / f"{name}.pt")
        numpy.savez(folder / f"{name}.npz", x=random.random(shape, numpy.float32))
    torch.save(convolutions.state_dict(), folder / "weights.pt")
    torch.save(Own(*convolutions), folder / "own.pt")


main()
