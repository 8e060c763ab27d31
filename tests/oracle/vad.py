"""Detects speech in a recording with Silero's model and its package's own post-processing.

usage: vad.py MODEL UTILS WAV   prints {"chances": […], "segments": [[start, end], …]}, in seconds.
"""

import ast
import json
import sys
import wave
from pathlib import Path
from typing import Callable, List

import numpy
import onnxruntime


def post_processing(utils):
    """Loads the package's only function that does not need torch, because importing the package imports torch."""
    name = "get_speech_timestamps_from_probs"
    tree = ast.parse(Path(utils).read_text())
    (function,) = (node for node in tree.body if getattr(node, "name", None) == name)
    function.decorator_list = []
    scope = {"List": List, "Callable": Callable}
    exec(compile(ast.Module([function], []), utils, "exec"), scope)
    return scope[name]


def read(path):
    with wave.open(path) as file:
        assert file.getsampwidth() == 2
        sound = numpy.frombuffer(file.readframes(file.getnframes()), "<i2").astype(numpy.float32) / 32768
        sound = sound.reshape(-1, file.getnchannels()).mean(axis=1)
        rate = file.getframerate()
    return (sound[:: rate // 16000], 16000) if rate > 16000 else (sound, rate)


def main():
    model, utils, path = sys.argv[1:]
    sound, rate = read(path)
    session = onnxruntime.InferenceSession(model)
    size = 512 if rate == 16000 else 256
    state, context = numpy.zeros((2, 1, 128), numpy.float32), numpy.zeros(size // 8, numpy.float32)
    chances = []
    for start in range(0, len(sound), size):
        chunk = sound[start : start + size]
        chunk = numpy.concatenate([context, numpy.pad(chunk, (0, size - len(chunk)))])
        inputs = {"input": chunk[None].astype(numpy.float32), "state": state, "sr": numpy.array(rate, numpy.int64)}
        chance, state = session.run(["output", "stateN"], inputs)
        chances.append(float(chance[0, 0]))
        context = chunk[-(size // 8) :]
    found = post_processing(utils)(chances, sampling_rate=rate, audio_length_samples=len(sound))
    segments = [[part["start"] / rate, part["end"] / rate] for part in found]
    json.dump({"chances": chances, "segments": segments}, sys.stdout)


main()
