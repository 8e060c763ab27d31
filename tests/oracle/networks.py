"""Makes networks of Keras for `hospes convert`: a small net of convolutions and an LSTM.

usage: networks.py FOLDER

Writes FOLDER/<model>.keras and <model>.npz, the rows that both the network and its conversion compute. They are not trained: converting does
not depend on it.
"""

import sys
from pathlib import Path

import keras
import numpy
from keras import layers


def main():
    folder = Path(sys.argv[1])
    keras.utils.set_random_seed(1)
    random = numpy.random.default_rng(1)
    convolutions = [
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
    for name, parts, shape in [
        ("convolutions", convolutions, (8, 8, 1)),
        ("lstm", [layers.LSTM(7, return_sequences=True)], (6, 5)),
    ]:
        keras.Sequential([keras.Input(shape), *parts]).save(folder / f"{name}.keras")
        numpy.savez(folder / f"{name}.npz", x=random.random((20, *shape), numpy.float32))


main()
