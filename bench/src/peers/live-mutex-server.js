import liveMutex from "live-mutex";

const { Broker } = liveMutex;
const broker = new Broker({ host: "127.0.0.1", port: Number(process.argv[2]) });
broker.emitter.on("warning", () => {}); // It would print each of them.
await broker.ensure();
process.stdout.write("ready\n");

// The parent holds the other end of standard input. When the parent is gone, so are we.
process.stdin.on("end", () => process.exit()).resume();
