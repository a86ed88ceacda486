// Decoder of the Kinestream pose stream (docs/wire.md) without any dependency: Node 16+, Deno, browsers.
//
//   import { decode } from "./kinestream.mjs";
//   const message = decode(bytes);          // Uint8Array of one ZeroMQ part
//   if (message.topic === "pose") for (const person of message.persons) person.joints_cam_m[3 * 15 + 1];
//
// Names and units are those of docs/wire.md. Arrays are Float32Array, row after row. Times (`*_ns`) are BigInt:
// nanoseconds outgrow what a Number holds exactly. Whatever does not follow the schema throws MessageError.

export const SCHEMA_VERSION = 1;
export const MAX_MESSAGE_BYTES = 1 << 24;
const MAX_ITEMS = 1024;
const MAX_DEPTH = 16;

export class MessageError extends Error {}

/** Lengths of the arrays of a person; null: any multiple of three. */
export const ARRAYS = {
  box_xyxy_px: 4,
  root_quat_wxyz: 4,
  translation_m: 3,
  joint_quats_wxyz: 21 * 4,
  betas: 10,
  joints_cam_m: 24 * 3,
  joint_std_m: 24,
  keypoints_cam_m: 23 * 3,
  keypoints_px: 23 * 3,
  vertices_cam_m: null,
};

/** One ZeroMQ part as an object with `topic` and the fields of docs/wire.md. Throws MessageError. */
export function decode(bytes) {
  if (bytes.length > MAX_MESSAGE_BYTES) fail(`message of ${bytes.length} bytes`);
  const zero = bytes.indexOf(0);
  const topic = zero < 0 ? "" : String.fromCharCode(...bytes.subarray(0, Math.min(zero, 16)));
  if (!["pose", "heartbeat", "stats"].includes(topic)) fail("unknown topic");
  const content = unpack(bytes.subarray(zero + 1));
  if (!isMap(content)) fail("expected a map");
  if (content.version !== SCHEMA_VERSION) fail(`schema version is not ${SCHEMA_VERSION}`);
  for (const key of ["stream_id", "clock_id", "source"]) need(content, key, "string");
  need(content, "t_publish_ns", "bigint");
  if (topic === "heartbeat") {
    need(content, "next_sequence", "number");
    need(content, "t_unix_ns", "bigint");
  } else if (topic === "stats") {
    if (!isMap(content.values)) fail("values: expected a map");
  } else {
    checkPose(content);
  }
  content.topic = topic;
  return content;
}

function checkPose(content) {
  for (const key of ["sequence", "frame_index", "dropped", "corrupt"]) need(content, key, "number");
  for (const key of ["t_capture_ns", "lead_ns"]) need(content, key, "bigint");
  oneOf(content, "clock", ["media", "monotonic"]);
  oneOf(content, "units", ["m"]);
  oneOf(content, "axes", ["opencv", "ros", "unity", "blender"]);
  oneOf(content, "skeleton", ["smpl-24"]);
  oneOf(content, "keypoints", ["coco-17+feet-6"]);
  content.origin ??= "camera";
  oneOf(content, "origin", ["camera", "hips"]);
  content.tilt_rad ??= 0;
  need(content, "tilt_rad", "number");
  if (!isMap(content.camera)) fail("camera: expected a map");
  for (const key of ["width_px", "height_px"]) need(content.camera, key, "number");
  for (const key of ["focal_px", "center_px", "distortion"]) {
    const list = content.camera[key];
    if (!Array.isArray(list) || !list.every((v) => typeof v === "number")) fail(`${key}: expected numbers`);
    if (key !== "distortion" && list.length !== 2) fail(`${key}: expected 2 numbers`);
  }
  if (!Array.isArray(content.persons)) fail("persons: expected a list");
  content.persons.forEach(checkPerson);
}

function checkPerson(person) {
  if (!isMap(person)) fail("persons: expected maps");
  for (const key of ["track_id", "score"]) need(person, key, "number");
  need(person, "age_ns", "bigint");
  oneOf(person, "state", ["tracked", "coasting"]);
  for (const [name, length] of Object.entries(ARRAYS)) {
    if (length === null && !(name in person)) continue;
    person[name] = floats(name, person[name], length);
  }
}

function floats(name, data, length) {
  if (!(data instanceof Uint8Array)) fail(`${name}: expected bytes`);
  if (length === null ? data.length % 12 : data.length !== 4 * length) fail(`${name}: ${data.length} bytes`);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const values = new Float32Array(data.length / 4);
  for (let i = 0; i < values.length; i++) {
    values[i] = view.getFloat32(4 * i, true);
    if (!Number.isFinite(values[i])) fail(`${name}: expected finite numbers`);
  }
  return values;
}

function fail(text) {
  throw new MessageError(text);
}

function isMap(value) {
  return value !== null && typeof value === "object" && Object.getPrototypeOf(value) === null;
}

function need(map, key, kind) {
  if (typeof map[key] !== kind) fail(`${key}: expected ${kind}, found ${typeof map[key]}`);
}

function oneOf(map, key, values) {
  if (!values.includes(map[key])) fail(`${key}: expected one of ${values}`);
}

/** msgpack (https://msgpack.org), without extension types. */
export function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = new TextDecoder("utf-8", { fatal: true });
  let at = 0;

  function take(size) {
    if (at + size > bytes.length) fail("cut short");
    at += size;
    return at - size;
  }
  function string(size) {
    const start = take(size);
    try {
      return text.decode(bytes.subarray(start, start + size));
    } catch {
      return fail("text is not UTF-8");
    }
  }
  function binary(size) {
    const start = take(size);
    return bytes.subarray(start, start + size);
  }
  function list(size, depth) {
    if (size > MAX_ITEMS) fail(`list of ${size}`);
    const values = [];
    for (let i = 0; i < size; i++) values.push(value(depth + 1, false));
    return values;
  }
  function map(size, depth) {
    if (size > MAX_ITEMS) fail(`map of ${size}`);
    const values = Object.create(null);
    for (let i = 0; i < size; i++) {
      const key = value(depth + 1, false);
      if (typeof key !== "string") fail("expected text as key");
      values[key] = value(depth + 1, key.endsWith("_ns"));
    }
    return values;
  }
  const integer = (number, big) => (big ? BigInt(number) : Number(number));

  function value(depth, big) {
    if (depth > MAX_DEPTH) fail("nested too deeply");
    const kind = view.getUint8(take(1));
    if (kind < 0x80) return integer(kind, big);
    if (kind < 0x90) return map(kind & 15, depth);
    if (kind < 0xa0) return list(kind & 15, depth);
    if (kind < 0xc0) return string(kind & 31);
    if (kind >= 0xe0) return integer(kind - 256, big);
    switch (kind) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return binary(view.getUint8(take(1)));
      case 0xc5: return binary(view.getUint16(take(2)));
      case 0xc6: return binary(view.getUint32(take(4)));
      case 0xca: return view.getFloat32(take(4));
      case 0xcb: return view.getFloat64(take(8));
      case 0xcc: return integer(view.getUint8(take(1)), big);
      case 0xcd: return integer(view.getUint16(take(2)), big);
      case 0xce: return integer(view.getUint32(take(4)), big);
      case 0xcf: return integer(view.getBigUint64(take(8)), big);
      case 0xd0: return integer(view.getInt8(take(1)), big);
      case 0xd1: return integer(view.getInt16(take(2)), big);
      case 0xd2: return integer(view.getInt32(take(4)), big);
      case 0xd3: return integer(view.getBigInt64(take(8)), big);
      case 0xd9: return string(view.getUint8(take(1)));
      case 0xda: return string(view.getUint16(take(2)));
      case 0xdb: return string(view.getUint32(take(4)));
      case 0xdc: return list(view.getUint16(take(2)), depth);
      case 0xdd: return list(view.getUint32(take(4)), depth);
      case 0xde: return map(view.getUint16(take(2)), depth);
      case 0xdf: return map(view.getUint32(take(4)), depth);
      default: return fail(`msgpack type 0x${kind.toString(16)} has no place here`);
    }
  }

  const whole = value(0, false);
  if (at !== bytes.length) fail("bytes left over");
  return whole;
}
