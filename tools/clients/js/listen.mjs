// Subscribe and print:  node listen.mjs [tcp://127.0.0.1:5556] [keys folder]       needs: npm install zeromq
//                       node listen.mjs ws://127.0.0.1:5558 [token]                needs: Node 22, nothing else
import { Subscriber } from "./kinestream.mjs";

process.stdout.on("error", (error) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0); // whoever read our output has had enough, as `| head` does
});
const [address = "tcp://127.0.0.1:5556", secret] = process.argv.slice(2);

const stream = new Subscriber(address, {
  [address.startsWith("ws") ? "token" : "keys"]: secret,
  onMessage(message) {
    if (message.topic === "pose") {
      for (const person of message.persons) {
        const [x, y, z] = person.translation_m;
        console.log(`${message.sequence}: person ${person.track_id} at ${x.toFixed(2)} ${y.toFixed(2)} ${z.toFixed(2)} m`);
      }
    } else if (message.topic === "heartbeat") {
      console.log(`alive: ${message.source}, next is ${message.next_sequence}`);
    }
  },
  onCondition(condition) {
    if (condition === "silent") console.error(`silent for 3 s: ${address}; is its computer on and connected?`);
    if (condition === "unreadable") console.error(`${address}: ${stream.lastError}`);
  },
});
