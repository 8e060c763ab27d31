"""Fits a small model to the iris data set and exports it as the library's users usually do, without regard to any server.

usage: exports.py sklearn|torch FOLDER

Writes FOLDER/<library>.onnx, and FOLDER/<library>.json with the library's own results for some flowers. Both are committed in
tests/fixtures/exports, because PyTorch takes gigabytes. Run it in a separate environment, after `pip install scikit-learn skl2onnx` or
`pip install torch onnxscript scikit-learn`. Other versions write different bytes, but equivalent models.
"""

import json
import sys
from pathlib import Path

import numpy
import sklearn
from sklearn.datasets import load_iris

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.7, 2.8, 4.1, 1.3]]


def with_sklearn(x, y, out):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from skl2onnx import to_onnx

    model = make_pipeline(StandardScaler(), RandomForestClassifier(10, max_depth=3, random_state=0)).fit(x, y)
    out.write_bytes(to_onnx(model, x[:1]).SerializeToString())
    flowers = numpy.array(FLOWERS, dtype=numpy.float32)
    return {"version": sklearn.__version__, "labels": model.predict(flowers).tolist(), "scores": model.predict_proba(flowers).tolist()}


def with_torch(x, y, out):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    torch.onnx.export(model, (x[:1],), str(out), dynamo=True, external_data=False)
    without_places(out)
    with torch.no_grad():
        scores = model(torch.tensor(FLOWERS))
    return {"version": torch.__version__, "labels": scores.argmax(1).tolist(), "scores": scores.tolist()}


def without_places(out):
    """Removes the paths of PyTorch's files on this machine."""
    import onnx

    model = onnx.load(out)
    for node in model.graph.node:
        kept = [prop for prop in node.metadata_props if prop.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, out)


def main():
    library, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    iris = load_iris()
    x, y = iris.data.astype(numpy.float32), iris.target.astype(numpy.int64)
    said = {"sklearn": with_sklearn, "torch": with_torch}[library](x, y, folder / f"{library}.onnx")
    assert said["labels"] == [0, 2, 1], said
    (folder / f"{library}.json").write_text(json.dumps({"flowers": FLOWERS, **said}, indent=1) + "\n")


main()
