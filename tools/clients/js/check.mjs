// Reads files of messages, each message after its length (4 bytes, little-endian), and prints one line of JSON
// for each: the message, or {"malformed": why}.  node check.mjs messages.bin
import { readFileSync } from "node:fs";
import { decode, MessageError } from "./kinestream.mjs";

function plain(key, value) {
  if (typeof value === "bigint") return value.toString();
  return value instanceof Float32Array ? Array.from(value) : value;
}

const file = readFileSync(process.argv[2]);
for (let at = 0; at < file.length; ) {
  const size = file.readUInt32LE(at);
  try {
    console.log(JSON.stringify(decode(file.subarray(at + 4, at + 4 + size)), plain));
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
    console.log(JSON.stringify({ malformed: error.message }));
  }
  at += 4 + size;
}
