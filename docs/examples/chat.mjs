// One chat as an application shows it: a fold of the events of its log, and what is said beside the log.

export class Chat {
  early = new Map(); // events by cursor that wait for those before them
  receipts = new Map(); // userId -> { delivered, seen, seenAt }: up to which message
  typing = new Map(); // userId -> { typing, at }: when an event said so, which beats an answer asked for before

  /** As it was fetched. `messages` may be ahead of its cursor: events are such that applying them again is harmless. */
  constructor(fresh, messages, me, before) {
    const { id, type, name, avatarUrl, cursor } = fresh;
    Object.assign(this, { id, type, name, avatarUrl, cursor, messages, me });
    this.members = new Map(fresh.members.map((member) => [member.userId, member]));
    if (before) Object.assign(this, { receipts: before.receipts, typing: before.typing });
  }

  /** Applies events in order and each once; answers those it applied. After a missing one they wait in `early`. */
  take(events) {
    for (const event of events) this.early.set(event.cursor, event);
    const applied = [];
    for (const event of [...this.early.values()].sort((one, other) => one.cursor - other.cursor)) {
      if (event.prev > this.cursor) break;
      this.early.delete(event.cursor);
      if (event.cursor <= this.cursor) continue; // we have it
      this.cursor = event.cursor;
      this.apply(event);
      applied.push(event);
    }
    return applied;
  }

  apply({ event, data }) {
    if (event === "message:new" || event === "chat:members") this.messages.set(data.seq, data);
    if (event === "chat:members") {
      const { added = [], removed = [], roles = [] } = data.change;
      for (const userId of removed) this.members.delete(userId), this.receipts.delete(userId);
      for (const member of [...added, ...roles]) this.members.set(member.userId, member);
    }
    if (event === "chat:updated") {
      this.name = data.name ?? this.name;
      this.avatarUrl = data.avatarUrl ?? this.avatarUrl;
    }
    const message = this.messages.get(data.seq);
    if (!message) return; // older than what is loaded
    if (event === "message:edited") {
      const { text, mentions, editedAt } = data;
      Object.assign(message, { text, mentions, editedAt });
    }
    if (event === "message:deleted") {
      Object.assign(message, { text: "", attachments: [], mentions: [], reactions: {}, deletedAt: data.deletedAt });
    }
    if (event === "reaction:added" || event === "reaction:removed") {
      const others = (message.reactions[data.emoji] ?? []).filter((userId) => userId !== data.userId);
      message.reactions[data.emoji] = event === "reaction:added" ? [...others, data.userId] : others;
      if (message.reactions[data.emoji].length === 0) delete message.reactions[data.emoji];
    }
  }

  /** Receipts only go forward, and who has seen a message has got it. */
  mark(userId, { delivered = 0, seen = 0, seenAt = null }) {
    if (delivered + seen === 0) return;
    const receipt = this.receipts.get(userId) ?? { delivered: 0, seen: 0, seenAt: null };
    if (seen > receipt.seen) Object.assign(receipt, { seen, seenAt });
    receipt.delivered = Math.max(receipt.delivered, delivered, receipt.seen);
    this.receipts.set(userId, receipt);
  }

  /** Receipts and typing as they were fetched, unless they have changed since they were asked for. */
  merge(fresh, asked) {
    for (const { userId, ...receipt } of fresh.receipts ?? []) this.mark(userId, receipt);
    for (const [userId, { at }] of this.typing) if (at < asked) this.typing.delete(userId);
    const now = (fresh.typing ?? []).filter((userId) => !this.typing.has(userId));
    for (const userId of now) this.typing.set(userId, { typing: true, at: asked });
  }

  types(userId, typing, at) {
    this.typing.set(userId, { typing, at });
  }

  get whoTypes() {
    return [...this.typing].filter(([, { typing }]) => typing).map(([userId]) => userId);
  }

  /** What others wrote since we came and that we have not seen; all of it is loaded. */
  get unread() {
    const joined = [...this.messages.values()].filter((message) => adds(message, this.me)).map(({ seq }) => seq);
    const after = Math.max(this.receipts.get(this.me)?.seen ?? 0, ...joined);
    return this.ofOthers().filter((message) => !message.deletedAt && message.seq > after).length;
  }

  /** Number of the newest message that somebody else wrote. */
  get newestOfOthers() {
    return Math.max(0, ...this.ofOthers().map(({ seq }) => seq));
  }

  ofOthers() {
    return [...this.messages.values()].filter(({ kind, senderId }) => kind === "user" && senderId !== this.me);
  }

  toJSON() {
    const { type, name, unread, whoTypes: typing } = this;
    const receipts = [...this.receipts].filter(([userId]) => this.members.has(userId));
    const [members, messages, receiptsOfMembers] = [this.members, this.messages, receipts].map(Object.fromEntries);
    return { type, name, members, messages, receipts: receiptsOfMembers, typing, unread };
  }
}

/** Whether a message of the system says that this user was added. */
export function adds(message, userId) {
  return (message.change?.added ?? []).some((member) => member.userId === userId);
}
