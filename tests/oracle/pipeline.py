"""Fits pipelines of scikit-learn as people use them, for `hospes convert`: a table with gaps and texts, a matrix, and a scaler with a
forest on iris. Their classes are texts.

usage: pipeline.py FOLDER

Writes FOLDER/<model>.pkl, <model>.skops and <model>.npz, the rows that both the model and its conversion compute.
"""

import pickle
import sys
from pathlib import Path

import numpy
import pandas
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def write(folder, name, model, rows):
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))
    skops.io.dump(model, folder / f"{name}.skops")
    numpy.savez(folder / f"{name}.npz", **rows)


def main():
    folder = Path(sys.argv[1])
    random = numpy.random.default_rng(7)
    age = random.uniform(18, 80, 200).astype(numpy.float32)
    income = random.lognormal(10, 0.5, 200).astype(numpy.float32)
    town = random.choice(["Bern", "Genève", "Zürich"], 200)
    bought = numpy.array(["never", "often", "sometimes"])[(age > 40).astype(int) + ((town == "Bern") & (income > 20000))]
    age[::9] = numpy.nan

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer([("numbers", numbers, ["age", "income"]), ("texts", OneHotEncoder(), ["town"])])
    table = make_pipeline(columns, LogisticRegression(max_iter=1000))
    table.fit(pandas.DataFrame({"age": age, "income": income, "town": town.astype(object)}), bought)
    write(folder, "table", table, {"age": age[:60], "income": income[:60], "town": town[:60]})

    rows = numpy.stack([numpy.nan_to_num(age, nan=50), income], axis=1)
    matrix = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=1)).fit(rows, bought)
    write(folder, "matrix", matrix, {"X": rows[:60]})

    # Thresholds of trees lie halfway between values that many rows share: a scaled value that is rounded otherwise changes its branch.
    iris = load_iris()
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(100, random_state=0)).fit(iris.data, iris.target_names[iris.target])
    write(folder, "iris", forest, {"X": iris.data})


main()
