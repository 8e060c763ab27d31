"""Exports a model with its own library, and writes that library's answers to the rows. Run confined by `hospes convert`, as
`export.py SOURCE MODEL ROWS pickle|no-pickle` in the folder that it may write to."""
import sys

import numpy as np

source, model_path, rows_path, permission = sys.argv[1:5]


def stop(what, fix):
    """Ends with a reason, and the name of what to do: the caller has the sentences."""
    sys.exit(f"{what} [fix-{fix}]")


def only_with_permission():
    """Called right before anything that can run a pickle."""
    if permission != "pickle":
        stop(f"{model_path} is a pickle or may hold one, and a pickle is a program", "permission")


def load_rows():
    """The arrays of the rows, without the expected answers and labels."""
    skipped = {"expected", "expected_labels", "y", "label", "labels", "target", "class"}
    if rows_path.endswith(".npz"):
        arrays = dict(np.load(rows_path, allow_pickle=False))
    elif rows_path.endswith(".npy"):
        arrays = {"X": np.load(rows_path, allow_pickle=False)}
    elif rows_path.endswith(".csv"):
        table = np.genfromtxt(rows_path, delimiter=",", names=True, dtype=None, encoding="utf-8")
        arrays = {name: table[name] for name in table.dtype.names}
    else:
        stop(f"{rows_path} is not read here", "rows")
    return {name: array for name, array in arrays.items() if name not in skipped}


def matrix(arrays):
    """One array: the only one, or all columns side by side."""
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    return np.column_stack(list(arrays.values()))


def answer(expected, labels=None):
    answers = {}
    if expected is not None:
        answers["expected"] = np.asarray(expected)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.dtype == object:
            labels = labels.astype(str)
        answers["expected_labels"] = labels
    np.savez("answers.npz", **answers)


def xgboost():
    import xgboost

    model = xgboost.Booster(model_file=model_path)
    rows = np.asarray(matrix(load_rows()), dtype=np.float32)
    types = model.feature_types
    rows = xgboost.DMatrix(rows, feature_names=model.feature_names, feature_types=types, enable_categorical=bool(types))
    answer(model.predict(rows))


def lightgbm():
    import lightgbm

    rows = np.asarray(matrix(load_rows()), dtype=np.float32)
    answer(lightgbm.Booster(model_file=model_path).predict(rows))


def load_sklearn():
    if model_path.endswith(".skops"):
        import skops.io

        unknown = skops.io.get_untrusted_types(file=model_path)
        # A type of numbers runs nothing. Every encoder of texts has one.
        doubtful = [name for name in unknown if name != "numpy.dtype"]
        if doubtful and permission != "pickle":
            stop(f"the model has types that skops does not know: {', '.join(doubtful)}", "permission")
        return skops.io.load(model_path, trusted=unknown)
    try:
        import joblib
    except ImportError:
        import pickle

        with open(model_path, "rb") as file:
            only_with_permission()
            return pickle.load(file)
    only_with_permission()
    return joblib.load(model_path)


def column_type(array):
    from skl2onnx.common import data_types as types

    width = 1 if array.ndim == 1 else array.shape[1]
    if array.dtype.kind in "UOS":
        return types.StringTensorType([None, width])
    if array.dtype.kind in "iub" and array.ndim == 1:
        return types.Int64TensorType([None, width])
    return types.FloatTensorType([None, width])


def sklearn():
    model = load_sklearn()
    if not hasattr(model, "predict") and not hasattr(model, "transform"):
        stop(f"the file has a {type(model).__name__}, which predicts nothing", "estimator")
    from skl2onnx import to_onnx
    from sklearn.preprocessing import StandardScaler

    arrays = load_rows()
    named = getattr(model, "feature_names_in_", None)
    if len(arrays) == 1:
        name, rows = next(iter(arrays.items()))
        if rows.dtype.kind == "f":
            rows = rows.astype(np.float32)
        types = [(name, column_type(rows))]
    else:
        import pandas

        if named is not None:
            missing = [name for name in named if name not in arrays]
            if missing:
                stop(f"the rows have no column {', '.join(missing)}", "columns")
            arrays = {name: arrays[name] for name in named}
        arrays = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in arrays.items()}
        rows = pandas.DataFrame({n: a.astype(object) if a.dtype.kind in "US" else a for n, a in arrays.items()})
        types = [(name, column_type(array)) for name, array in arrays.items()]
    if hasattr(model, "predict_proba"):
        answer(model.predict_proba(rows), model.predict(rows))
    elif hasattr(model, "decision_function") and hasattr(model, "classes_"):
        answer(None, model.predict(rows))
    elif hasattr(model, "predict"):
        predicted = np.asarray(model.predict(rows))
        answer(*((predicted, None) if predicted.dtype.kind == "f" else (None, predicted)))
    else:
        answer(model.transform(rows))
    # scikit-learn's scaler divides. By default the exported one multiplies by the inverse, and a value that is rounded otherwise takes
    # another branch of a tree.
    options = {StandardScaler: {"div": "div"}}
    onnx = to_onnx(model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3}, options=options)
    with open("model.onnx", "wb") as file:
        file.write(onnx.SerializeToString())


def torch():
    import torch

    if model_path.endswith(".pt2"):
        only_with_permission()
        model = torch.export.load(model_path).module()
    else:
        options = {"weights_only": False} if tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) >= (1, 13) else {}
        only_with_permission()
        model = torch.load(model_path, map_location="cpu", **options)
    if not isinstance(model, torch.nn.Module):
        stop(f"the file has a {type(model).__name__}, not a module", "module")
    arrays = load_rows()
    examples = tuple(torch.from_numpy(np.ascontiguousarray(a.astype(np.float32) if a.dtype == np.float64 else a)) for a in arrays.values())
    model.eval()
    with torch.no_grad():
        outputs = model(*examples)
    if isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    answer(outputs.numpy())
    names = list(arrays)
    options = {"dynamo": False} if hasattr(torch.onnx, "ONNXProgram") else {}
    torch.onnx.export(
        model, examples, "model.onnx", input_names=names, output_names=["output"], opset_version=16,
        dynamic_axes={name: {0: "N"} for name in [*names, "output"]}, **options,
    )


def keras():
    import keras

    if not model_path.endswith(".keras"):
        only_with_permission()
    model = keras.saving.load_model(model_path, compile=False, safe_mode=permission != "pickle")
    rows = load_rows()
    answer(model.predict(matrix(rows) if len(rows) == 1 else rows, verbose=0))
    model.export("model.onnx", format="onnx", verbose=False)


{"xgboost": xgboost, "lightgbm": lightgbm, "sklearn": sklearn, "torch": torch, "keras": keras}[source]()
