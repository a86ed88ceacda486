// Subscribe and print:  npm install zeromq && node listen.mjs [tcp://127.0.0.1:5556] [keys folder]
// The folder is one that `kinestream keys FOLDER --client NAME` made.
import { readFileSync } from "node:fs";
import { Subscriber } from "zeromq";
import { decode, MessageError } from "./kinestream.mjs";

process.stdout.on("error", (error) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0); // whoever read our output has had enough, as `| head` does
});
const [address = "tcp://127.0.0.1:5556", keys] = process.argv.slice(2);
const key = (file, name) => readFileSync(`${keys}/${file}`, "utf8").match(`${name}-key = "(.{40})"`)[1];

const socket = new Subscriber({
  maxMessageSize: 1 << 24,
  heartbeatInterval: 1000, // a computer that lost its power never says goodbye:
  heartbeatTimeout: 3000, //  without these the socket would wait for it for ever
  connectTimeout: 2000,
  handshakeInterval: 3000,
  reconnectMaxInterval: 1000,
  ipv6: address.includes("["),
});
if (keys) {
  socket.curveServerKey = key("publisher.key", "public");
  socket.curvePublicKey = key("client.key_secret", "public");
  socket.curveSecretKey = key("client.key_secret", "secret");
}
socket.connect(address);
socket.subscribe();
let malformed = 0;
let heard = null; // when the last message came that can be read
let said = false;
setInterval(() => {
  const silent = heard !== null && Date.now() - heard > 3000;
  if (silent && !said) console.error(`silent for 3 s: ${address}; is its computer on and connected?`);
  said = silent;
}, 500).unref();
for await (const [part] of socket) {
  try {
    const message = decode(part);
    heard = Date.now();
    if (message.topic === "pose") {
      for (const person of message.persons) {
        const [x, y, z] = person.translation_m;
        console.log(`${message.sequence}: person ${person.track_id} at ${x.toFixed(2)} ${y.toFixed(2)} ${z.toFixed(2)} m`);
      }
    } else if (message.topic === "heartbeat") {
      console.log(`alive: ${message.source}, next is ${message.next_sequence}`);
    }
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
    malformed += 1;
    console.error(`left out (${malformed} so far): ${error.message}`);
  }
}
