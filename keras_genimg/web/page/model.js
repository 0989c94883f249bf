// The model: its description, and its functions, run by onnxruntime-web.

let ort;
const sessions = {};
let last = Promise.resolve();

/** Loads the runtime and the functions that model.json names; returns what is in it. */
export async function load() {
  const description = await (await fetch("model.json")).json();
  ort = await import(new URL(description.runtime, document.baseURI));
  for (const name of description.functions) {
    sessions[name] = await ort.InferenceSession.create(`${name}.onnx`);
  }
  return description;
}

/**
 * The outputs of a function, by name. Inputs that it does not have are left out: labels of a model
 * without classes. Runs wait for each other.
 */
export function run(name, inputs) {
  const { inputNames } = sessions[name];
  const next = () => sessions[name].run(
    Object.fromEntries(inputNames.map((key) => [key, inputs[key]])));
  last = last.then(next, next);
  return last;
}

/** Rows of numbers as one tensor (rows, ...shape). */
export function floats(rows, shape) {
  const values = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, i) => values.set(row, i * row.length));
  return new ort.Tensor("float32", values, [rows.length, ...shape]);
}

/** Labels of classes as a tensor (n,). */
export function integers(labels) {
  return new ort.Tensor("int32", Int32Array.from(labels), [labels.length]);
}

/** The images of a tensor (n, height, width, channels): one array each. */
export function imagesOf({ data, dims: [count] }) {
  const size = data.length / count;
  return Array.from({ length: count }, (_, i) => data.slice(i * size, (i + 1) * size));
}
