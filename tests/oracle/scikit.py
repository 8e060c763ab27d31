"""Fits scikit-learn's usual models and exports each as its users do, with `to_onnx` and no options.

usage: scikit.py FOLDER

Writes FOLDER/<model>.onnx, and FOLDER/answers.json: what is sent to each, and what scikit-learn itself answers. They are kept in
tests/fixtures/scikit, so that the tests need no scikit-learn. In an environment of its own: `pip install scikit-learn==1.9.1
skl2onnx==1.20.0 pandas`. Other versions write other bytes that compute the same.
"""

import json
import sys
from pathlib import Path

import numpy
import pandas
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

ROWS = [3, 60, 77, 120, 141]


def scores(model, rows):
    """What the model's second output has, if it has one."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)
    return model.decision_function(rows) if hasattr(model, "decision_function") else None


def answers(model, rows):
    said = scores(model, rows)
    labels = model.predict(rows)
    return {"labels": labels.reshape(-1).tolist(), "scores": None if said is None else said.tolist()}


def table(x, y):
    """The flowers as people have them: columns with names, one of them text, and their names for what is to be said."""
    size = numpy.where(x[:, 0] > 6.2, "large", numpy.where(x[:, 0] > 5.4, "usual", "small"))
    columns = {"petal_length": x[:, 2], "petal_width": x[:, 3], "size": size}
    return pandas.DataFrame(columns), numpy.array(["setosa", "versicolor", "virginica"])[y]


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    x, y = load_iris(return_X_y=True)
    x = x.astype(numpy.float32)
    names = numpy.array(["setosa", "versicolor", "virginica"])[y]
    ill, progress = load_diabetes(return_X_y=True)
    ill = ill.astype(numpy.float32)
    frame, labels = table(x, y)
    mixed = ColumnTransformer(
        [("numbers", StandardScaler(), ["petal_length", "petal_width"]), ("words", OneHotEncoder(), ["size"])]
    )
    models = {
        "forest": (RandomForestClassifier(8, random_state=0), x, y),
        "forest_names": (RandomForestClassifier(8, random_state=0), x, names),
        "boosting": (GradientBoostingClassifier(n_estimators=8, random_state=0), x, y),
        "boosting_two": (GradientBoostingClassifier(n_estimators=8, random_state=0), x[:100], y[:100]),
        "logistic": (LogisticRegression(max_iter=500), x, y),
        "logistic_names": (LogisticRegression(max_iter=500), x, names),
        "machine": (SVC(), x, y),
        "machine_two": (SVC(), x[:100], y[:100]),
        "scaled": (make_pipeline(StandardScaler(), LogisticRegression()), x, y),
        "scaler": (StandardScaler(), x, None),
        "columns": (make_pipeline(mixed, LogisticRegression()), frame, labels),
        "forest_of_numbers": (RandomForestRegressor(4, max_depth=5, random_state=0), ill, progress),
        "boosting_of_numbers": (GradientBoostingRegressor(n_estimators=8, random_state=0), ill, progress),
    }
    said = {}
    for name, (model, rows, wanted) in models.items():
        model.fit(rows, wanted)
        (folder / f"{name}.onnx").write_bytes(to_onnx(model, rows[:1]).SerializeToString())
        sent = rows.iloc[[row % len(rows) for row in ROWS]] if hasattr(rows, "iloc") else rows[[row % len(rows) for row in ROWS]]
        if hasattr(rows, "iloc"):
            inputs = [{"name": column, "data": sent[column].tolist()} for column in sent]
        else:
            inputs = [{"name": "X", "data": sent.tolist()}]
        if wanted is None:
            answer = {"labels": None, "scores": model.transform(sent).tolist()}
        else:
            answer = answers(model, sent)
        said[name] = {"inputs": inputs, **answer}
    (folder / "answers.json").write_text(json.dumps(said, indent=1) + "\n")


main()
