// Client of the Kinestream pose stream (docs/wire.md), without any dependency: browsers, Deno, Node 16+.
//
//   import { Subscriber } from "./kinestream.mjs";
//   new Subscriber("ws://127.0.0.1:5558", {                 // kinestream run 0 --ws
//     onMessage(message) {
//       if (message.topic === "pose") for (const person of message.persons) person.joints_cam_m[3 * 15 + 1];
//     },
//   });
//
// `tcp://127.0.0.1:5556` instead listens over ZeroMQ, in Node (npm install zeromq). `decode(bytes)` alone takes a
// message that came some other way. Names and units are those of docs/wire.md. Arrays are Float32Array, row after row.
// Times (`*_ns`) are BigInt: nanoseconds outgrow what a Number holds exactly. Whatever does not follow the schema
// throws MessageError.

export const SCHEMA_VERSION = 1;
export const MAX_MESSAGE_BYTES = 1 << 24;
const MAX_ITEMS = 1024;
const MAX_DEPTH = 16;
const SILENT_MS = 3000;
const RETRY_MS = 500;

/** Parent of each joint of smpl-24; the pelvis has none. */
export const PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21];

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

/**
 * A listener, which finds the tracker again when that restarts or loses its power.
 *
 * `condition` is "unheard", "alive" (something came within 3 s), "silent" or "unreadable" (another version, another
 * program: `lastError` says what). `latest` is the newest pose message, for whoever draws at a rate of their own.
 */
export class Subscriber {
  condition = "unheard";
  latest = null;
  heartbeat = null;
  received = 0;
  missed = 0;
  malformed = 0;
  lastError = null;
  #address;
  #options;
  #socket = null;
  #timer;
  #heard_ms = -Infinity; // of the last message that could be read
  #tried_ms = 0;
  #next = {}; // sequence by stream

  /**
   * @param address ws://HOST:PORT, wss://HOST:PORT (browsers, Deno, Node 22+), tcp://HOST:PORT or ipc://PATH (Node).
   * @param options onMessage(message), onCondition(condition) when it changes; `token` for a WebSocket, `keys` for
   *   ZeroMQ: both are in the folder that `kinestream keys FOLDER --client NAME` makes.
   */
  constructor(address, options = {}) {
    this.#address = address;
    this.#options = options;
    if (/^wss?:/.test(address)) this.#connect();
    else this.#listenToZeroMq();
    this.#timer = setInterval(() => this.#check(), RETRY_MS);
  }

  /** Milliseconds since `t_ns` of the publisher's monotonic clock, if both computers' clocks agree; null before a heartbeat. */
  ageMs(t_ns) {
    if (this.heartbeat === null) return null;
    return Date.now() - Number(t_ns - this.heartbeat.t_publish_ns + this.heartbeat.t_unix_ns) / 1e6;
  }

  close() {
    clearInterval(this.#timer);
    this.#options = {};
    this.#socket?.close();
  }

  #connect() {
    const { token } = this.#options;
    const before = this.#socket;
    const socket = new WebSocket(token ? `${this.#address}/?token=${encodeURIComponent(token)}` : this.#address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => before?.close();
    socket.onmessage = ({ data }) => this.#take(typeof data === "string" ? new Uint8Array() : new Uint8Array(data));
    this.#socket = socket;
    this.#tried_ms = Date.now();
  }

  async #listenToZeroMq() {
    const zeromq = await import(/* @vite-ignore */ /* webpackIgnore: true */ "zeromq");
    const { keys } = this.#options;
    const socket = new zeromq.Subscriber({
      maxMessageSize: MAX_MESSAGE_BYTES,
      heartbeatInterval: 1000, // a computer that lost its power never says goodbye:
      heartbeatTimeout: 3000, //  without these the socket would wait for it for ever
      connectTimeout: 2000,
      handshakeInterval: 3000,
      reconnectMaxInterval: 1000,
      ipv6: this.#address.includes("["),
    });
    if (keys) {
      const { readFileSync } = await import(/* @vite-ignore */ /* webpackIgnore: true */ "node:fs");
      const key = (file, name) => readFileSync(`${keys}/${file}`, "utf8").match(`${name}-key = "(.{40})"`)[1];
      socket.curveServerKey = key("publisher.key", "public");
      socket.curvePublicKey = key("client.key_secret", "public");
      socket.curveSecretKey = key("client.key_secret", "secret");
    }
    socket.connect(this.#address);
    socket.subscribe();
    this.#socket = socket;
    for await (const [part] of socket) this.#take(part);
  }

  #take(bytes) {
    let message;
    try {
      message = decode(bytes);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.malformed += 1;
      this.lastError = error.message;
      if (Date.now() - this.#heard_ms > SILENT_MS) this.#become("unreadable");
      return;
    }
    this.#heard_ms = Date.now();
    this.#become("alive");
    if (message.topic === "heartbeat") this.heartbeat = message;
    if (message.topic === "pose") {
      this.latest = message;
      this.received += 1;
      this.missed += Math.max(0, message.sequence - (this.#next[message.stream_id] ?? message.sequence));
      this.#next = { [message.stream_id]: message.sequence + 1 };
    }
    this.#options.onMessage?.(message);
  }

  #check() {
    const now = Date.now();
    if (this.condition === "alive" && now - this.#heard_ms > SILENT_MS) this.#become("silent");
    if (!("readyState" in (this.#socket ?? {}))) return; // ZeroMQ connects anew by itself
    const closed = this.#socket.readyState === 3;
    if (closed || (now - this.#heard_ms > SILENT_MS && now - this.#tried_ms > SILENT_MS)) this.#connect();
  }

  #become(condition) {
    if (condition === this.condition) return;
    this.condition = condition;
    this.#options.onCondition?.(condition);
  }
}
