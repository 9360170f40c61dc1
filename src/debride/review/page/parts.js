// The voxels of an item: image and labels of its crop or of the whole. A few crops are kept, and one whole.
import { ask, bytes } from "./api.js";
import { unpacked } from "./nifti.js";

const KEPT = 4;
const IMAGE = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array };
const kept = new Map();

export function voxels(place, part, channel) {
  const key = `${place} ${part} ${channel}`;
  let promise = kept.get(key);
  kept.delete(key);
  promise ??= load(place, { part, channel });
  kept.set(key, promise);
  promise.catch(() => { if (kept.get(key) === promise) kept.delete(key); });
  for (const old of kept.keys()) if (kept.size > KEPT || (old !== key && old.includes(" whole "))) kept.delete(old);
  return promise;
}

export function forget(place) {
  for (const key of kept.keys()) if (key.startsWith(`${place} `)) kept.delete(key);
}

async function load(place, query) {
  const at = `api/items/${place}`;
  const part = await ask(`${at}/part`, query);
  const volume = part.shape.length === 3;
  const [image, ...labels] = await Promise.all(["image", ...part.layers].map(what => bytes(`${at}/layer/${what}`, query)));
  const layers = {};
  part.layers.forEach((name, i) => { layers[name] = volume ? unpacked(labels[i]) : new Uint8Array(labels[i]); });
  const shape = volume ? part.shape : [...part.shape, 1];
  return { ...part, place, part: query.part, volume, shape, at: [...part.at, 0].slice(0, 3), layers,
    image: volume ? image : new IMAGE[part.dtype](image) };
}

// One plane of an array that lies x fastest: `u` and `v` are the axes to the right and upwards, or downwards in a picture.
export const AXES = { 0: [1, 2], 1: [0, 2], 2: [0, 1] };

export function strides([x, y]) { return [1, x, x * y]; }

export function plane(array, shape, axis, index) {
  const [u, v] = AXES[axis], step = strides(shape), width = shape[u], height = shape[v], start = index * step[axis];
  if (axis === 2) return array.subarray(start, start + width * height);
  const out = new Uint8Array(width * height);
  for (let j = 0, o = 0; j < height; j++) {
    for (let i = 0, from = start + j * step[v]; i < width; i++, from += step[u]) out[o++] = array[from];
  }
  return out;
}
