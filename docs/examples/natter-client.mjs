// A client of Natter to copy from: it holds what a chat application shows, and holds it right over lost connections.
//
//   const natter = new NatterClient({ url, userId, io, fetch, getToken, onChange: (what, chatId) => render() });
//   natter.connect();
//
// `io` is that of socket.io-client. `getToken(renew)` answers an access token, a new one if `renew`: use the refresh
// token in one place only. A chat is a log: each of its events names its `cursor` and that of the event before, `prev`.
// So an event is applied once and in order, whether it comes by socket or by `sync`. See docs/frontend.md.

const LOG_EVENTS = ["message:new", "message:edited", "message:deleted", "reaction:added", "reaction:removed"];
LOG_EVENTS.push("chat:created", "chat:updated", "chat:deleted", "chat:members");

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const emptyReceipt = () => ({ delivered: 0, seen: 0, seenAt: null });

export class NatterClient {
  chats = new Map(); // id -> { id, type, name, cursor, members, messages (by seq), receipts, typing }
  presence = new Map(); // userId -> { userId, online, status, lastSeenAt }
  watched = new Set(); // whose presence we want to know
  early = new Map(); // chat id -> events by cursor that wait for those before them
  loads = new Map(); // chat id -> the load under way; a later one makes it void
  heard = new Map(); // "chat/user" or "user" -> when an event last spoke of it: it beats an answer asked for before
  clock = 0;

  constructor({ url, userId, io, fetch, getToken, onChange }) {
    Object.assign(this, { userId, onChange });
    const auth = (give) => getToken(this.expired).then((token) => ((this.expired = false), give({ token })), () => {});
    this.socket = io(url, { autoConnect: false, auth });
    this.get = async (path) => {
      for (let renew = false; ; await sleep(500)) {
        const headers = { authorization: `Bearer ${await getToken(renew)}` };
        const answer = await fetch(url + path, { headers }).catch(() => null);
        if (answer?.ok) return answer.json();
        if (answer?.status === 404) return null;
        renew = answer?.status === 401;
      }
    };
    const on = (event, take) => this.socket.on(event, take);
    on("connect", () => this.catchUp());
    // Where the server itself refused or disconnected us, socket.io-client leaves it to us to come again.
    const comeAgain = () => !this.socket.active && !this.over && setTimeout(() => this.socket.connect(), 500);
    on("disconnect", comeAgain);
    on("connect_error", (error) => ((this.expired = error.message === "unauthenticated"), comeAgain()));
    on("session:expired", () => (this.expired = true));
    on("session:revoked", () => ((this.over = true), this.onChange("signed out")));
    for (const event of LOG_EVENTS) on(event, (data, at) => this.take(data.chatId, { event, data, ...at }));
    on("chat:joined", (chat) => this.load(chat.id));
    on("chat:left", ({ chatId }) => this.drop(chatId));
    on("chat:cursor", ({ chatId, cursor }) => cursor > this.chats.get(chatId)?.cursor && this.sync());
    on("message:delivered", ({ chatId, userId, seq }) => this.mark(chatId, userId, { delivered: seq }));
    on("message:read", ({ chatId, userId, seq, at }) => this.mark(chatId, userId, { seen: seq, seenAt: at }));
    on("typing", ({ chatId, userId, typing }) => {
      this.heard.set(`${chatId}/${userId}`, ++this.clock);
      this.chats.get(chatId)?.typing[typing ? "add" : "delete"](userId);
      this.onChange("typing", chatId);
    });
    on("presence", (presence) => {
      this.heard.set(presence.userId, ++this.clock);
      this.presence.set(presence.userId, presence);
      this.onChange("presence");
    });
  }

  connect() { this.socket.connect(); }

  /** Sends until there is an answer; the same `clientId` makes it one message however often it is sent. */
  async send(chatId, text, clientId = crypto.randomUUID()) {
    for (;; await sleep(500)) {
      const ack = await this.ask("message:send", { chatId, clientId, text }).catch(() => null);
      if (ack && !["unavailable", "rate_limited"].includes(ack.error?.code)) return ack;
    }
  }

  /** The user has seen everything up to `seq`. */
  read(chatId, seq) { return this.ask("message:read", { chatId, seq }); }

  /** Wants to know whether these people are there. */
  async watch(userIds) {
    userIds.forEach((id) => this.watched.add(id));
    const asked = this.clock;
    const ack = await this.ask("presence:subscribe", { userIds });
    for (const one of ack.presence ?? []) if (!(this.heard.get(one.userId) > asked)) this.presence.set(one.userId, one);
    this.onChange("presence");
  }

  /** What others wrote that we have not seen; all of it is loaded. */
  unread({ messages, receipts }) {
    const all = [...messages.values()];
    const joined = all.filter((message) => this.addsMe(message)).map((message) => message.seq);
    const after = Math.max(receipts.get(this.userId)?.seen ?? 0, ...joined);
    const counts = (m) => m.kind === "user" && m.senderId !== this.userId && !m.deletedAt && m.seq > after;
    return all.filter(counts).length;
  }

  addsMe(message) { return (message.change?.added ?? []).some((member) => member.userId === this.userId); }

  ask(event, payload) { // rejects when the connection is lost meanwhile
    if (!this.socket.connected) return Promise.reject(new Error("not connected"));
    return this.socket.timeout(10_000).emitWithAck(event, payload);
  }

  /** After every (re)connect: the events missed, then what is no event, then chats that are new to us. */
  async catchUp() {
    if (this.watched.size > 0) this.watch([...this.watched]).catch(() => {}); // subscriptions end with a connection
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
      for (const todo = [...this.chats.keys()]; todo.length > 0; ) {
        const asked = todo.splice(0, 1_000).filter((id) => this.chats.has(id));
        const chats = Object.fromEntries(asked.map((id) => [id, this.chats.get(id).cursor]));
        const ack = await this.ask("sync", { chats }).catch(() => null);
        if (!ack?.ok) {
          this.again = true; // refused for now; a lost connection ends it, and the next one begins anew
          await sleep(500);
          break;
        }
        for (const id of asked) {
          const page = ack.chats[id];
          if (!page || page.reset) this.load(id); // no longer ours, or further back than the log reaches: ask
          else if (this.advance(id, page.events) && !page.hasMore) this.again = true;
          if (page?.hasMore) todo.push(id);
        }
      }
    }
    this.syncing = false;
  }

  take(id, entry) {
    if (this.advance(id, [entry])) this.sync();
  }

  /** Applies events in order, each once; true if one is missing before those that are left. */
  advance(id, entries) {
    const early = this.early.get(id) ?? new Map();
    this.early.set(id, early);
    for (const entry of entries) early.set(entry.cursor, entry);
    const chat = this.chats.get(id);
    if (!chat || this.loads.has(id)) return false; // `load` comes back to them
    for (const entry of [...early.values()].sort((one, other) => one.cursor - other.cursor)) {
      if (entry.cursor > chat.cursor) {
        if (entry.prev > chat.cursor) return true;
        chat.cursor = entry.cursor;
        this.apply(chat, entry);
      }
      early.delete(entry.cursor);
    }
    return false;
  }

  apply(chat, { event, data }) {
    const message = chat.messages.get(data.seq); // undefined: older than what is loaded
    const users = message?.reactions[data.emoji] ?? [];
    if (event === "message:new") chat.messages.set(data.seq, data);
    if (event === "chat:updated") Object.assign(chat, { name: data.name ?? chat.name, avatarUrl: data.avatarUrl ?? chat.avatarUrl });
    if (event === "chat:deleted") this.drop(chat.id);
    if (event === "chat:members") {
      chat.messages.set(data.seq, data);
      const { added = [], removed = [], roles = [] } = data.change;
      for (const id of removed) chat.members.delete(id), chat.receipts.delete(id);
      for (const member of [...added, ...roles]) chat.members.set(member.userId, member);
      if (added.length > 0) this.refresh(chat.id); // they may have been here before, and have read
    }
    if (message && event === "message:edited") Object.assign(message, { text: data.text, mentions: data.mentions, editedAt: data.editedAt });
    if (message && event === "message:deleted")
      Object.assign(message, { text: "", attachments: [], mentions: [], reactions: {}, deletedAt: data.deletedAt });
    if (message && event === "reaction:added") message.reactions[data.emoji] = [...users.filter((id) => id !== data.userId), data.userId];
    if (message && event === "reaction:removed") message.reactions[data.emoji] = users.filter((id) => id !== data.userId);
    if (message?.reactions[data.emoji]?.length === 0) delete message.reactions[data.emoji];
    if (event === "message:new") this.deliver(chat);
    this.onChange(event, chat.id);
  }

  /** Fetches a chat afresh: its newest messages, and all that are unread. Events wait meanwhile. */
  async load(id) {
    const load = { asked: this.clock };
    this.loads.set(id, load);
    const fresh = await this.get(`/api/chats/${id}`);
    const messages = new Map();
    const seen = fresh?.receipts?.find((one) => one.userId === this.userId)?.seen ?? 0;
    for (let before = "", more = fresh; more; before = `&before=${Math.min(...messages.keys())}`) {
      const page = await this.get(`/api/messages/${id}?limit=100${before}`);
      for (const message of page?.messages ?? []) messages.set(message.seq, message);
      more = page?.hasMore && Math.min(...messages.keys()) > seen + 1 && ![...messages.values()].some((m) => this.addsMe(m));
    }
    if (this.loads.get(id) !== load) return; // left or loaded again meanwhile
    this.loads.delete(id);
    if (!fresh) return this.drop(id);
    const { type, name, avatarUrl, cursor } = fresh;
    const { receipts = new Map(), typing = new Set() } = this.chats.get(id) ?? {};
    const members = new Map(fresh.members.map((member) => [member.userId, member]));
    this.chats.set(id, { id, type, name, avatarUrl, cursor, members, messages, receipts, typing });
    this.merge(fresh, load.asked);
    if (this.advance(id, [])) this.sync(); // those that waited
  }

  /** Receipts and typing are no part of the log: after a reconnect they are asked for. */
  async refresh(id) {
    const asked = this.clock;
    const fresh = await this.get(`/api/chats/${id}`);
    if (fresh) this.merge(fresh, asked);
  }

  merge(fresh, asked) {
    const chat = this.chats.get(fresh.id);
    if (!chat) return;
    for (const { userId, ...receipt } of fresh.receipts ?? []) this.mark(fresh.id, userId, receipt);
    const typing = (user) => (this.heard.get(`${chat.id}/${user}`) > asked ? chat.typing.has(user) : fresh.typing?.includes(user));
    chat.typing = new Set([...chat.typing, ...(fresh.typing ?? [])].filter(typing));
    this.deliver(chat);
    this.onChange("chat", chat.id);
  }

  /** Receipts only go forward, and who has seen a message has got it. */
  mark(chatId, userId, { delivered = 0, seen = 0, seenAt = null }) {
    const receipts = this.chats.get(chatId)?.receipts;
    if (!receipts || delivered + seen === 0) return;
    const mine = receipts.get(userId) ?? emptyReceipt();
    if (seen > mine.seen) Object.assign(mine, { seen, seenAt });
    mine.delivered = Math.max(mine.delivered, delivered, seen);
    receipts.set(userId, mine);
    this.onChange("receipt", chatId);
  }

  /** Says that this device has the messages, at most once in 500 ms for each chat. */
  deliver(chat) {
    chat.delivering ??= setTimeout(() => {
      chat.delivering = undefined;
      const last = Math.max(0, ...[...chat.messages.values()].filter((m) => m.senderId !== this.userId).map((m) => m.seq));
      const news = last > (chat.receipts.get(this.userId)?.delivered ?? 0) && this.chats.get(chat.id) === chat;
      if (news) this.ask("message:delivered", { chatId: chat.id, seq: last }).catch(() => {});
    }, 500);
  }

  /** All of it as plain JSON. */
  toJSON() {
    const chats = [...this.chats.values()].map((chat) => {
      const { id, type, name, members, messages, receipts, typing } = chat;
      const [plain, unread] = [Object.fromEntries, this.unread(chat)];
      const mine = plain([...receipts].filter(([userId]) => members.has(userId)));
      return [id, { type, name, members: plain(members), messages: plain(messages), receipts: mine, typing: [...typing], unread }];
    });
    return { chats: Object.fromEntries(chats), presence: Object.fromEntries(this.presence) };
  }

  drop(id) {
    for (const known of [this.chats, this.early, this.loads]) known.delete(id);
    this.onChange("chat:left", id);
  }
}
