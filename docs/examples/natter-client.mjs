// A client of Natter to copy from: it holds what a chat application shows, and holds it right over lost connections.
//
//   const natter = new NatterClient({ url, userId, io, fetch, getToken, onChange: (what, chatId) => render() });
//   natter.socket.connect(); // then natter.chats.get(id).messages, .unread, .whoTypes ... and natter.presence
//
// `io` is that of socket.io-client. `getToken(renew)` answers an access token, a new one if `renew`: use the refresh
// token in one place only. A chat is a log: each of its events names its `cursor` and that of the event before, `prev`.
// So an event is applied once and in order, whether it comes by socket or by `sync`. See docs/frontend.md.

import { Chat, adds } from "./chat.mjs";

const OF_MESSAGES = ["message:new", "message:edited", "message:deleted", "reaction:added", "reaction:removed"];
const OF_CHATS = ["chat:created", "chat:updated", "chat:deleted", "chat:members"];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class NatterClient {
  chats = new Map(); // by id
  presence = new Map(); // userId -> { userId, online, status, lastSeenAt }
  watched = new Set(); // whose presence we want to know
  loads = new Map(); // chat id -> { asked, early, beside }: being fetched; a later load makes it void, all events wait
  heard = new Map(); // userId -> when an event last told their presence: it beats an answer that was asked for before

  constructor({ url, userId, io, fetch, getToken, onChange }) {
    Object.assign(this, { userId, onChange });
    const auth = (give) => getToken(this.expired).then((token) => give({ token }), () => this.signedOut());
    this.socket = io(url, { autoConnect: false, auth });
    this.get = async (path) => {
      for (let renew = false, wait = 500; ; await sleep(wait)) {
        const headers = { authorization: `Bearer ${await getToken(renew)}` };
        const answer = await fetch(url + path, { headers }).catch(() => null);
        if (answer?.ok) return answer.json();
        if (answer?.status === 404) return null;
        renew = answer?.status === 401;
        wait = 1000 * answer?.headers.get("retry-after") || 500;
      }
    };
    this.listen((event, take) => this.socket.on(event, take));
  }

  listen(on) {
    on("connect", () => ((this.expired = false), this.catchUp()));
    // Where the server itself refused or disconnected us, socket.io-client leaves it to us to come again.
    const comeAgain = () => !this.socket.active && !this.over && setTimeout(() => this.socket.connect(), 500 + 1000 * Math.random());
    on("disconnect", comeAgain);
    on("connect_error", (error) => {
      const refused = error.message === "unauthenticated";
      if (refused && this.expired) return this.signedOut(); // a new token is refused as well
      this.expired ||= refused;
      comeAgain();
    });
    on("session:expired", () => (this.expired = true));
    on("session:revoked", () => this.signedOut());
    for (const event of [...OF_MESSAGES, ...OF_CHATS])
      on(event, (data, { cursor, prev }) => {
        // It went to the top of the list while that was fetched page by page.
        if (!this.chats.has(data.chatId) && !this.loads.has(data.chatId)) this.load(data.chatId);
        if (this.take(data.chatId, [{ event, data, cursor, prev }])) this.sync();
      });
    on("chat:joined", (chat) => this.load(chat.id));
    on("chat:left", ({ chatId }) => this.drop(chatId));
    on("chat:cursor", ({ chatId, cursor }) => cursor > this.chats.get(chatId)?.cursor && this.sync());
    const beside = (what, chatId, change) => {
      this.loads.get(chatId)?.beside.push(change);
      if (this.chats.has(chatId)) change(this.chats.get(chatId));
      this.onChange(what, chatId);
    };
    const mark = (chatId, userId, receipt) => beside("receipt", chatId, (chat) => chat.mark(userId, receipt));
    on("message:delivered", ({ chatId, userId, seq }) => mark(chatId, userId, { delivered: seq }));
    on("message:read", ({ chatId, userId, seq, at }) => mark(chatId, userId, { seen: seq, seenAt: at }));
    on("typing", ({ chatId, userId, typing }) => {
      const at = performance.now();
      beside("typing", chatId, (chat) => chat.types(userId, typing, at));
    });
    on("presence", (presence) => {
      this.heard.set(presence.userId, performance.now());
      this.presence.set(presence.userId, presence);
      this.onChange("presence");
    });
  }

  /** Leaves for good. */
  close() {
    this.over = true;
    this.socket.disconnect();
  }

  /** There is no token any more: the user has to sign in. */
  signedOut() {
    this.close();
    this.onChange("signed out");
  }

  /** Sends until there is an answer; the same `clientId` makes it one message however often it is sent. */
  async send(chatId, text, clientId = crypto.randomUUID()) {
    for (let wait = 500; ; await sleep(wait)) {
      const ack = await this.ask("message:send", { chatId, clientId, text }).catch(() => null);
      if (ack && !["unavailable", "rate_limited"].includes(ack.error?.code)) return ack;
      wait = 1000 * ack?.error.retryAfter || 500;
    }
  }

  /** The user has seen everything up to `seq`. */
  read(chatId, seq) {
    return this.ask("message:read", { chatId, seq });
  }

  /** Wants to know from now on whether these people are there. */
  async watch(userIds) {
    for (const userId of userIds) this.watched.add(userId);
    for (let at = 0; at < userIds.length; at += 500) await this.ask500(userIds.slice(at, at + 500));
  }

  async ask500(userIds) {
    for (; this.socket.connected; await sleep(500)) {
      const asked = performance.now();
      const ack = await this.ask("presence:subscribe", { userIds }).catch(() => null);
      if (!ack?.ok) continue; // until it works; a new connection begins again with everybody
      const news = ack.presence.filter(({ userId }) => !(this.heard.get(userId) >= asked));
      for (const presence of news) this.presence.set(presence.userId, presence);
      return this.onChange("presence");
    }
  }

  /** An event with its acknowledgement; rejects when the connection is lost meanwhile. */
  async ask(event, payload) {
    if (!this.socket.connected) throw new Error("not connected");
    return this.socket.timeout(10_000).emitWithAck(event, payload);
  }

  /** After every (re)connect: the events missed, then what is no event of a log, then chats that are new to us. */
  async catchUp() {
    if (this.watched.size > 0) this.watch([...this.watched]); // subscriptions end with a connection
    await this.sync();
    // An application with very many chats does this for those on screen, and for others when they come there.
    for (const id of this.chats.keys()) this.refresh(id);
    for (let cursor = ""; cursor !== null; ) {
      const page = await this.get(`/api/chats?limit=100${cursor && `&cursor=${cursor}`}`);
      for (const { id } of page.chats) if (!this.chats.has(id)) this.load(id);
      cursor = page.nextCursor;
    }
  }

  /** Gets the events after our cursors, all chats in one question; one `sync` at a time. */
  async sync() {
    this.again = true;
    if (this.syncing) return;
    this.syncing = true;
    while (this.again && this.socket.connected) {
      this.again = false;
      const all = [...this.chats.values()];
      while (all.length > 0) {
        const some = all.splice(0, 1_000); // as many as one `sync` takes
        const chats = Object.fromEntries(some.map(({ id, cursor }) => [id, cursor]));
        const ack = await this.ask("sync", { chats }).catch(() => null);
        if (!ack?.ok) await sleep(500);
        for (const { id } of some) {
          const page = ack?.chats?.[id];
          if (!ack?.ok || page?.hasMore) this.again = true;
          else if (!page || page.reset) this.load(id); // no longer ours, or further back than the log reaches: ask
          if (page && this.take(id, page.events)) this.again = true;
        }
      }
    }
    this.syncing = false;
  }

  /** Takes events in, in order and each once; true if one is missing before those that are left. */
  take(id, events) {
    const [load, chat] = [this.loads.get(id), this.chats.get(id)];
    if (load) load.early.push(...events);
    if (load || !chat) return false;
    for (const { event, data } of chat.take(events)) {
      if (event === "chat:deleted") this.drop(id);
      if (event === "message:new") this.deliver(chat);
      if (data.change?.added) this.refresh(id); // they may have been here before, and have read
      this.onChange(event, id);
    }
    return chat.early.size > 0;
  }

  /** Fetches a chat afresh: its newest messages, and all that are unread. */
  async load(id) {
    const { early, beside } = this.loads.get(id) ?? { early: [], beside: [] };
    const load = { asked: performance.now(), early, beside };
    this.loads.set(id, load);
    const fresh = await this.get(`/api/chats/${id}`);
    const seen = fresh?.receipts?.find((receipt) => receipt.userId === this.userId)?.seen ?? 0;
    const messages = new Map();
    for (let more = fresh, before = ""; more; before = `&before=${Math.min(...messages.keys())}`) {
      const page = await this.get(`/api/messages/${id}?limit=100${before}`);
      for (const message of page?.messages ?? []) messages.set(message.seq, message);
      const joined = [...messages.values()].some((message) => adds(message, this.userId));
      more = page?.hasMore && !joined && Math.min(...messages.keys()) > seen + 1;
    }
    if (this.loads.get(id) !== load) return; // left, or loaded again meanwhile
    if (!fresh) return this.drop(id);
    this.loads.delete(id);
    const chat = new Chat(fresh, messages, this.userId, this.chats.get(id));
    for (const change of load.beside) change(chat);
    this.chats.set(id, chat);
    this.merge(fresh, load.asked);
    if (this.take(id, load.early)) this.sync();
  }

  /** Receipts and typing are no part of the log: they are asked for. */
  async refresh(id) {
    const asked = performance.now();
    const fresh = await this.get(`/api/chats/${id}`);
    if (fresh) this.merge(fresh, asked);
  }

  merge(fresh, asked) {
    const chat = this.chats.get(fresh.id);
    chat?.merge(fresh, asked);
    if (chat) this.deliver(chat);
    this.onChange("chat", fresh.id);
  }

  /** Says that this device has the messages, at most once in 500 ms for each chat. */
  deliver(chat) {
    chat.delivering ??= setTimeout(() => {
      chat.delivering = undefined;
      const [seq, said] = [chat.newestOfOthers, chat.receipts.get(this.userId)?.delivered ?? 0];
      // What fails is said again after the reconnect.
      if (seq > said) this.ask("message:delivered", { chatId: chat.id, seq }).catch(() => {});
    }, 500);
  }

  drop(id) {
    this.chats.delete(id);
    this.loads.delete(id);
    this.onChange("chat:left", id);
  }

  /** All of it as plain JSON. */
  toJSON() {
    return { chats: Object.fromEntries(this.chats), presence: Object.fromEntries(this.presence) };
  }
}
