// Drives any number of official Socket.IO clients. JSON lines in on stdin, JSON lines out on stdout; ends with stdin.
// usage: node driver.mjs <package.json beside node_modules>
//
// in:  {op: "connect", id, url, auth, opts}   {op: "auth", id, auth}     {op: "emit", id, event, args, ack?}
//      {op: "disconnect", id}   {op: "drop", id} cuts the transport, as a lost network does   {op: "reconnect", id}
//      {op: "example", id, url, userId, auth} the client of docs/examples instead; with {op: "view", id, ack} and
//      {op: "call", id, method, args, ack}
// out: {id, event, args} as received; "connect" [socket id], "connect_error" [message, data, again] and "disconnect"
//      [reason, again] likewise, where `again` says whether the client tries again by itself; {ack, args} for what is
//      answered.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { NatterClient } from "../../docs/examples/natter-client.mjs";

const { io } = createRequire(process.argv[2])("socket.io-client");
const sockets = new Map();
const soon = { reconnectionDelay: 100, reconnectionDelayMax: 500 };

// Nobody listens any more: the test is over.
process.stdout.on("error", () => process.exit(0));

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function listen(id, socket) {
  socket.onAny((event, ...args) => say({ id, event, args }));
  socket.on("connect", () => say({ id, event: "connect", args: [socket.id] }));
  socket.on("connect_error", (error) =>
    say({ id, event: "connect_error", args: [error.message, error.data ?? null, socket.active] }),
  );
  socket.on("disconnect", (reason) => say({ id, event: "disconnect", args: [reason, socket.active] }));
}

const operations = {
  connect({ id, url, auth, opts }) {
    const state = { auth };
    const socket = io(url, { forceNew: true, ...opts, auth: (give) => give(state.auth) });
    listen(id, socket);
    sockets.set(id, { socket, state });
  },
  example({ id, url, userId, auth }) {
    const state = { auth };
    const client = new NatterClient({
      url,
      userId,
      io: (address, opts) => io(address, { ...opts, ...soon, forceNew: true, transports: ["websocket"] }),
      fetch,
      getToken: async () => state.auth.token,
      onChange: () => {},
    });
    listen(id, client.socket);
    sockets.set(id, { socket: client.socket, state, client });
    client.socket.connect();
  },
  view({ id, ack }) {
    say({ ack, args: [sockets.get(id).client.toJSON()] });
  },
  async call({ id, method, args, ack }) {
    const { client } = sockets.get(id);
    const answer = await client[method](...args).catch((error) => ({ thrown: String(error) }));
    say({ ack, args: [answer ?? null] });
  },
  auth({ id, auth }) {
    sockets.get(id).state.auth = auth;
  },
  emit({ id, event, args, ack }) {
    const { socket } = sockets.get(id);
    if (ack === undefined) socket.emit(event, ...args);
    else socket.emit(event, ...args, (...answer) => say({ ack, args: answer }));
  },
  disconnect({ id }) {
    sockets.get(id).socket.disconnect();
  },
  drop({ id }) {
    sockets.get(id).socket.io.engine?.close();
  },
  reconnect({ id }) {
    sockets.get(id).socket.connect();
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { op, ...rest } = JSON.parse(line);
  operations[op](rest);
});
lines.on("close", () => process.exit(0));
