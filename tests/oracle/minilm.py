"""Embeds texts with onnxruntime and the package `tokenizers`. usage: minilm.py MODEL.onnx VOCAB.txt TEXTS.json"""

import json
import sys

import numpy as np
import onnxruntime
from tokenizers import BertWordPieceTokenizer

model, vocabulary, texts = sys.argv[1:]
tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
tokenizer.enable_truncation(256)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
vectors = []
with open(texts, encoding="utf-8") as file:
    for text in json.load(file):
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (states,) = session.run(["last_hidden_state"], inputs)
        mean = states[0].mean(axis=0)
        vectors.append((mean / np.linalg.norm(mean)).tolist())
json.dump(vectors, sys.stdout)
