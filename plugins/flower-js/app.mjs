// Tells three kinds of iris apart, in JavaScript. The host runs the model; the code around it is here.

import { loadByName } from "wasi:nn/graph@0.2.0-rc-2024-10-28";
import { Tensor } from "wasi:nn/tensor@0.2.0-rc-2024-10-28";

const KINDS = ["setosa", "versicolor", "virginica"];
const MEASUREMENTS = 4;

/** The outputs of the bundle's model. */
function compute(inputs) {
  return loadByName("model").initExecutionContext().compute(inputs);
}

export function classify(measurements) {
  if (measurements.length !== MEASUREMENTS) {
    throw `${measurements.length} measurements, a flower has ${MEASUREMENTS}`;
  }
  const data = new Uint8Array(new Float32Array(measurements).buffer);
  const outputs = compute([["X", new Tensor([1, MEASUREMENTS], "FP32", data)]]);
  const [, probabilities] = outputs.find(([name]) => name === "probabilities");
  const bytes = probabilities.data();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const labels = KINDS.map((name, kind) => ({ name, score: view.getFloat32(4 * kind, true) }));
  return labels.sort((a, b) => b.score - a.score);
}

export const inference = {
  infer(inputs) {
    try {
      return compute(inputs);
    } catch (error) {
      throw error?.payload?.data?.() ?? String(error);
    }
  },
};
