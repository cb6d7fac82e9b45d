//! A batch of the log becomes notifications: a few round trips for all of its chats together.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use contract::{
    ChatId, NotificationId, Time, UserId,
    chat::{Audience, AudienceOf, GetAudiences, MAX_AUDIENCES},
    event::{Cursor, Event},
    headers,
    storage::chat_of_log,
};
use futures::{StreamExt, TryStreamExt, stream};
use service::{Delivery, Outcome, chain};

use super::{
    AGAIN, NotNow, Notify,
    plan::{self, Plan},
    store::{Known, Stored},
    unless_raced,
};

/// Questions about audiences at a time.
const AT_ONCE: usize = 4;
/// The instance that knows best is waited for this long before another is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a batch has of one chat.
#[derive(Default)]
struct OfChat {
    /// Each with whether it may have been worked on before.
    events: Vec<(Event, bool)>,
    /// Who left.
    left: Vec<UserId>,
    cursor: Cursor,
    /// The instance of `chat` that appended the last of them.
    writer: Option<String>,
}

/// What is to be written and said of all chats.
#[derive(Default)]
struct All {
    new: Vec<Stored>,
    changed: Vec<Stored>,
    news: HashSet<NotificationId>,
    unmailed: Vec<(ChatId, UserId)>,
}

impl Notify {
    /// Takes a batch of the log.
    pub(super) async fn take(&self, batch: Vec<Delivery>) -> Vec<(Delivery, Outcome)> {
        let mut chats: BTreeMap<ChatId, OfChat> = BTreeMap::new();
        for delivery in &batch {
            if let Some(chat) = chat_of_log(&delivery.message.subject) {
                chats.entry(chat).or_default().add(delivery);
            }
        }
        let failed = self.take_chats(&chats).await.unwrap_or_else(|error| {
            tracing::warn!(chats = chats.len(), error = chain(&error), "cannot notify; trying again");
            chats.keys().copied().collect()
        });
        let settle = |delivery: Delivery| {
            let outcome = match chat_of_log(&delivery.message.subject) {
                Some(chat) if failed.contains(&chat) => Outcome::Retry(AGAIN),
                Some(_) => Outcome::Done,
                None => Outcome::Discard,
            };
            (delivery, outcome)
        };
        batch.into_iter().map(settle).collect()
    }

    /// Answers the chats that have to be tried again; the error is that all have.
    async fn take_chats(&self, chats: &BTreeMap<ChatId, OfChat>) -> Result<HashSet<ChatId>, NotNow> {
        let audiences = self.audiences(chats).await?;
        let mut failed: HashSet<ChatId> = chats.keys().filter(|chat| !audiences.contains_key(chat)).copied().collect();
        let audiences = audiences.into_iter().filter_map(|(chat, audience)| Some((chat, audience?)));
        let audiences: BTreeMap<ChatId, Audience> = audiences.collect();

        let known = self.known(chats, &audiences).await?;
        let mut all = plan(chats, &audiences, known);
        let raced = self.store.change(&all.changed).await?;
        all.forget(&raced);
        failed.extend(raced);
        let raced = self.store.add(&all.new).await?;
        all.forget(&raced);
        failed.extend(raced);
        self.read_left(chats, &audiences).await?;

        metrics::counter!("natter_notifications_total").increment(all.news.len() as u64);
        self.tell(&all.new, &all.changed, &all.news).await?;
        self.schedule_digests(all.unmailed.iter().map(|(_, user)| *user).collect()).await?;
        // Who has the chat open has seen it by now, and what reads notifications may have come before there were any.
        self.read_by_now(chats, &all).await?;
        Ok(failed)
    }

    /// What there is already, without what has been seen: that is read.
    async fn known(
        &self,
        chats: &BTreeMap<ChatId, OfChat>,
        audiences: &BTreeMap<ChatId, Audience>,
    ) -> Result<HashMap<ChatId, Known>, NotNow> {
        // Only what comes again can be about what somebody was told of and has read.
        let first = |(chat, of): (&ChatId, &OfChat)| (*chat, plan::messages(&of.again()).into_iter().min());
        let mut known = self.store.of_chats(&chats.iter().map(first).collect::<Vec<_>>()).await?;
        let seen = |(chat, audience)| known.get_mut(chat).map_or_else(Vec::new, |of| plan::take_seen(of, audience));
        let seen = audiences.iter().flat_map(seen).collect();
        self.read(seen).await?;
        Ok(known)
    }

    /// What concerned those who are no longer in a chat is over.
    async fn read_left(
        &self,
        chats: &BTreeMap<ChatId, OfChat>,
        audiences: &BTreeMap<ChatId, Audience>,
    ) -> Result<(), NotNow> {
        let mut gone = HashSet::new();
        for (chat, audience) in audiences {
            let left = chats.get(chat).into_iter().flat_map(|of| &of.left);
            let left = left.filter(|user| !audience.members.iter().any(|member| member.user_id == **user));
            gone.extend(left.map(|user| (*chat, *user)));
        }
        if gone.is_empty() {
            return Ok(());
        }
        unless_raced(|| self.read_all_in(&gone)).await
    }

    async fn read_all_in(&self, gone: &HashSet<(ChatId, UserId)>) -> Result<(), NotNow> {
        let users: Vec<UserId> = gone.iter().map(|(_, user)| *user).collect();
        let chats: Vec<ChatId> = gone.iter().map(|(chat, _)| *chat).collect();
        let mut over = self.store.unread_in(&users, &chats).await?;
        over.retain(|one| one.chat_id.is_some_and(|chat| gone.contains(&(chat, one.user_id))));
        self.read(over).await
    }

    /// Reads what has been seen since the audiences were asked for.
    async fn read_by_now(&self, chats: &BTreeMap<ChatId, OfChat>, all: &All) -> Result<(), NotNow> {
        let written = all.new.iter().chain(&all.changed);
        let written: HashSet<(ChatId, UserId)> = written.filter_map(|one| Some((one.chat_id?, one.user_id))).collect();
        let asked: BTreeMap<ChatId, OfChat> =
            written.iter().filter_map(|(chat, _)| Some((*chat, chats.get(chat)?.place()))).collect();
        let mut seen = BTreeMap::new();
        for (chat, audience) in self.audiences(&asked).await? {
            let members = audience.into_iter().flat_map(|audience| audience.members);
            let members = members.filter(|member| written.contains(&(chat, member.user_id)));
            seen.extend(members.map(|member| ((chat, member.user_id), member.seen)));
        }
        // What was before they joined counts as seen, but nobody has looked for it.
        self.read_seen(&seen, false).await
    }

    /// The audiences of chats, without those that cannot be told now; `None` for a chat that is not there.
    async fn audiences(&self, chats: &BTreeMap<ChatId, OfChat>) -> Result<HashMap<ChatId, Option<Audience>>, NotNow> {
        let mut asked: BTreeMap<Option<&str>, Vec<AudienceOf>> = BTreeMap::new();
        for (chat, of) in chats {
            asked.entry(of.writer.as_deref()).or_default().push(of.audience(*chat));
        }
        let ask = |writer: Option<&str>, chats: &[AudienceOf]| {
            let (caller, question) = (self.caller.clone(), GetAudiences { chats: chats.to_vec() });
            let writer = writer.map(str::to_owned);
            async move {
                match writer {
                    // It has the chat as the event left it; another one had to read the log first.
                    Some(writer) => caller.call_instance_or_any(&writer, PATIENCE, &question).await,
                    None => caller.call(&question).await,
                }
            }
        };
        let asking: Vec<_> = asked
            .iter()
            .flat_map(|(writer, chats)| chats.chunks(MAX_AUDIENCES).map(|chats| ask(*writer, chats)))
            .collect();
        let answers = stream::iter(asking).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        Ok(answers.into_iter().flat_map(|answer| answer.chats).collect())
    }
}

fn plan(
    chats: &BTreeMap<ChatId, OfChat>,
    audiences: &BTreeMap<ChatId, Audience>,
    mut known: HashMap<ChatId, Known>,
) -> All {
    let mut all = All::default();
    for (chat, audience) in audiences {
        let mut plan = Plan::new(*chat, audience, known.remove(chat).unwrap_or_default());
        for event in chats.get(chat).into_iter().flat_map(OfChat::events) {
            plan.take(event, Time::now());
        }
        all.add(*chat, plan.outcome());
    }
    all
}

impl OfChat {
    /// Nothing but where the log stands.
    fn place(&self) -> Self {
        Self { cursor: self.cursor, writer: self.writer.clone(), ..Self::default() }
    }

    fn add(&mut self, delivery: &Delivery) {
        if delivery.sequence >= self.cursor {
            self.cursor = delivery.sequence;
            self.writer = delivery.header(headers::INSTANCE).map(str::to_owned);
        }
        let left = delivery.header(headers::LEFT).unwrap_or_default();
        self.left.extend(left.split(',').filter_map(|user| user.trim().parse::<UserId>().ok()));
        let name = delivery.header(headers::EVENT).unwrap_or_default();
        // What cannot be read the archive complains of.
        if let Ok(Some(event)) = Event::decode(name, &delivery.message.payload) {
            self.events.push((event, delivery.attempt > 1));
        }
    }

    fn events(&self) -> Vec<&Event> {
        self.events.iter().map(|(event, _)| event).collect()
    }

    fn again(&self) -> Vec<&Event> {
        self.events.iter().filter(|(_, again)| *again).map(|(event, _)| event).collect()
    }

    fn audience(&self, chat_id: ChatId) -> AudienceOf {
        let events = self.events();
        let (senders_of, messages) = (plan::answered(&events), plan::messages(&events));
        AudienceOf { chat_id, cursor: self.cursor, senders_of, messages }
    }
}

impl All {
    fn add(&mut self, chat: ChatId, outcome: plan::Outcome) {
        let plan::Outcome { new, changed, told, unmailed } = outcome;
        let news = new.iter().chain(&changed).filter(|one| one.read_at.is_none() && told.contains(&one.user_id));
        self.news.extend(news.map(|one| one.id));
        self.unmailed.extend(unmailed.into_iter().map(|user| (chat, user)));
        self.new.extend(new);
        self.changed.extend(changed);
    }

    /// Leaves out what is about these chats: it is told when they are tried again.
    fn forget(&mut self, chats: &HashSet<ChatId>) {
        let is_of = |one: &Stored| one.chat_id.is_some_and(|chat| chats.contains(&chat));
        for one in self.new.iter().chain(&self.changed).filter(|one| is_of(one)) {
            self.news.remove(&one.id);
        }
        self.new.retain(|one| !is_of(one));
        self.changed.retain(|one| !is_of(one));
        self.unmailed.retain(|(chat, _)| !chats.contains(chat));
    }
}
