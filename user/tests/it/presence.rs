//! What others see of people, from what gateways say.

use std::time::{Duration, Instant};

use contract::{
    Actor, Code, SessionId, Time, UserId,
    presence::{
        Availability::{Away, Dnd, Invisible, Online},
        GetPresence, MAX_PRESENCE, Presence, PresenceStatus, Seen,
    },
    room,
    storage::{PRESENCE_BUCKET, PresenceKey},
    user::Role,
};
use futures::StreamExt;
use serde_json::json;
use service::{Bucket, KvError};
use testkit::{Mongo, Nats, eventually};

use crate::{
    gateway::{Events, Gateway, settled},
    world::{SOON, World, refused},
};

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_mins(10);
/// As many comings and goings are as many writes to disk, one after the other.
const DISK: Duration = Duration::from_mins(1);

async fn ask(world: &World, user_ids: &[UserId]) -> Vec<Seen> {
    let actor = Actor { user_id: UserId::new(), session_id: SessionId::new(), role: Role::User };
    world.call(&GetPresence { actor, user_ids: user_ids.to_vec() }).await.unwrap().presence
}

async fn presence(world: &World, user: UserId) -> Presence {
    ask(world, &[user]).await.remove(0).presence
}

async fn becomes(world: &World, user: UserId, status: PresenceStatus) -> Presence {
    eventually(&format!("{status:?}"), SOON, async || {
        Some(presence(world, user).await).filter(|presence| presence.status == status)
    })
    .await
}

/// What the admin port of the service says is missing.
async fn missing_parts(world: &World) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(world.admin_addr()).await.unwrap();
    connection.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn two_gateways_make_one_person_and_only_changes_are_published() {
    let world = World::start().await;
    let events = Events::of(&world.nats).await;
    let (here, there) = (Gateway::start(&world.nats, LONG).await, Gateway::start(&world.nats, LONG).await);
    let anna = UserId::new();
    let before = Time::now();

    here.put(anna, Online).await;
    let came = becomes(&world, anna, PresenceStatus::Online).await;
    assert!(came.online && came.last_seen_at.unwrap() >= before, "{came:?}");
    let mut expected = vec![PresenceStatus::Online];
    // What is said here and there (`None`: not connected), and what others then see.
    let steps = [
        (Some(Online), Some(Online), PresenceStatus::Online),
        (Some(Away), Some(Online), PresenceStatus::Online),
        (Some(Away), Some(Away), PresenceStatus::Away),
        (Some(Dnd), Some(Away), PresenceStatus::Dnd),
        (Some(Dnd), None, PresenceStatus::Dnd),
        (None, Some(Online), PresenceStatus::Online),
        (Some(Invisible), Some(Online), PresenceStatus::Offline),
        (Some(Invisible), Some(Dnd), PresenceStatus::Offline),
        (None, Some(Dnd), PresenceStatus::Dnd),
        (None, None, PresenceStatus::Offline),
        (Some(Invisible), None, PresenceStatus::Offline),
        (Some(Away), None, PresenceStatus::Away),
    ];
    let mut said = [None, None];
    for (at_here, at_there, seen) in steps {
        // The new one first, as when somebody moves from one device to the other.
        for (place, gateway, status) in [(1, &there, at_there), (0, &here, at_here)] {
            match status {
                Some(status) => gateway.put(anna, status).await,
                None if said[place].is_some() => gateway.remove(anna).await,
                None => {}
            }
            said[place] = status;
            settled(&world, &here).await;
        }
        let presence = presence(&world, anna).await;
        assert_eq!(
            (presence.status, presence.online),
            (seen, seen != PresenceStatus::Offline),
            "{at_here:?} {at_there:?}"
        );
        if expected.last() != Some(&seen) {
            expected.push(seen);
        }
        events.end_with(anna, &expected).await;
        if expected.iter().all(|status| *status != PresenceStatus::Offline) {
            assert_eq!(presence.last_seen_at, came.last_seen_at, "was there all along");
        } else {
            assert!(presence.last_seen_at > came.last_seen_at);
        }
    }
}

#[tokio::test]
async fn what_is_republished_has_the_revision_that_is_answered() {
    let world = World::start().await;
    let client = world.nats.connect("gateway").await;
    let mut published = client.subscribe(room::PRESENCE).await.unwrap();
    let here = Gateway::start(&world.nats, LONG).await;
    let (anna, ben) = (UserId::new(), UserId::new());
    here.put(anna, Online).await;
    let event = published.next().await.unwrap();
    let [seen, never] = ask(&world, &[anna, ben]).await.try_into().unwrap();
    let revision: u64 = event.headers.as_ref().unwrap().get("Nats-Sequence").unwrap().as_str().parse().unwrap();
    assert_eq!((seen.revision, &seen.presence), (revision, &serde_json::from_slice(&event.payload).unwrap()));
    assert_eq!(never.revision, 0);
}

#[tokio::test]
async fn who_was_only_at_a_gateway_that_died_is_offline_and_who_is_elsewhere_is_not() {
    let world = World::start().await;
    let events = Events::of(&world.nats).await;
    let (dies, stays) = (Gateway::start(&world.nats, SHORT).await, Gateway::start(&world.nats, LONG).await);
    let (anna, ben) = (UserId::new(), UserId::new());
    for user in [anna, ben] {
        dies.put(user, Online).await;
    }
    stays.put(ben, Away).await;
    let came = Time::now();
    becomes(&world, anna, PresenceStatus::Offline).await;
    events.end_with(anna, &[PresenceStatus::Online, PresenceStatus::Offline]).await;
    let gone = presence(&world, anna).await;
    assert!(!gone.online && gone.last_seen_at.unwrap() > came, "{gone:?}");
    becomes(&world, ben, PresenceStatus::Away).await;
    assert!(!dies.is_there(&dies.session(anna)).await || !dies.is_there(&dies.session(ben)).await);
    settled(&world, &stays).await;
    assert_eq!(events.about(ben).last(), Some(&PresenceStatus::Away));
    assert!(!events.about(ben).contains(&PresenceStatus::Offline));
    eventually("its sessions are removed", SOON, async || {
        (!dies.is_there(&format!("user.*.{}", dies.id)).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_with_more_sessions_than_one_answer_holds_dies() {
    let world = World::start().await;
    let dies = Gateway::start(&world.nats, LONG).await;
    let users: Vec<UserId> = (0..1_500).map(|_| UserId::new()).collect();
    futures::stream::iter(&users).for_each_concurrent(64, |user| dies.put(*user, Online)).await;
    let count = async |status: PresenceStatus| {
        let mut count = 0;
        for users in users.chunks(MAX_PRESENCE) {
            count += ask(&world, users).await.iter().filter(|seen| seen.presence.status == status).count();
        }
        count
    };
    let all_are = async |status| (count(status).await == users.len()).then_some(());
    eventually("all are there", DISK, async || all_are(PresenceStatus::Online).await).await;
    dies.renew(SHORT).await;
    eventually("all are gone", DISK, async || all_are(PresenceStatus::Offline).await).await;
    assert!(!dies.is_there(&format!("user.*.{}", dies.id)).await);
}

#[tokio::test]
async fn a_gateway_that_comes_back_keeps_its_people() {
    let mut world = World::start().await;
    let here = Gateway::start(&world.nats, SHORT).await;
    let anna = UserId::new();
    here.put(anna, Online).await;
    becomes(&world, anna, PresenceStatus::Online).await;

    // With nobody there to see it the lease ends; the gateway is back before anybody is.
    world.stop().await;
    let lease = PresenceKey::Lease(here.id).to_string();
    eventually("the lease expires", SOON, async || (!here.is_there(&lease).await).then_some(())).await;
    here.renew(LONG).await;
    here.put(anna, Dnd).await;
    let events = Events::of(&world.nats).await;
    world.start_again().await;
    becomes(&world, anna, PresenceStatus::Dnd).await;
    settled(&world, &here).await;
    assert_eq!(events.about(anna), [PresenceStatus::Dnd]);

    // And while somebody is there to remove its sessions, whoever comes first.
    for _ in 0..3 {
        here.renew(SHORT).await;
        eventually("the lease expires", SOON, async || (!here.is_there(&lease).await).then_some(())).await;
        here.renew(LONG).await;
        here.put(anna, Dnd).await;
        settled(&world, &here).await;
        becomes(&world, anna, PresenceStatus::Dnd).await;
        assert!(here.is_there(&here.session(anna)).await);
    }
}

#[tokio::test]
async fn a_gateway_that_died_while_nobody_watched_is_noticed_at_the_start() {
    let mut world = World::start().await;
    let (dies, stays) = (Gateway::start(&world.nats, SHORT).await, Gateway::start(&world.nats, LONG).await);
    let (anna, ben, cleo) = (UserId::new(), UserId::new(), UserId::new());
    for user in [anna, ben] {
        dies.put(user, Online).await;
    }
    for user in [ben, cleo] {
        stays.put(user, Online).await;
    }
    for user in [anna, ben, cleo] {
        eventually("came", SOON, async || presence(&world, user).await.last_seen_at).await;
    }
    world.stop().await;
    dies.vanish_without_a_trace().await;
    assert!(dies.is_there(&dies.session(anna)).await);
    let events = Events::of(&world.nats).await;

    world.start_again().await;

    events.end_with(anna, &[PresenceStatus::Offline]).await;
    assert!(!presence(&world, anna).await.online);
    settled(&world, &stays).await;
    assert!(!dies.is_there(&dies.session(anna)).await && !dies.is_there(&dies.session(ben)).await);
    assert!(presence(&world, ben).await.online && presence(&world, cleo).await.online);
    assert!(events.about(ben).is_empty() && events.about(cleo).is_empty());
}

#[tokio::test]
async fn after_nats_lost_its_memory_gateways_put_back_what_was() {
    let mut world = World::start().await;
    let here = Gateway::start(&world.nats, LONG).await;
    let (anna, ben) = (UserId::new(), UserId::new());
    for user in [anna, ben] {
        here.put(user, Online).await;
        becomes(&world, user, PresenceStatus::Online).await;
    }
    here.remove(ben).await;
    let went = becomes(&world, ben, PresenceStatus::Offline).await.last_seen_at;
    assert!(went.is_some());

    world.nats.kill().await;
    eventually("the loss is noticed", SOON, async || missing_parts(&world).await.contains("nats").then_some(())).await;
    world.nats.start_again().await;
    let begin = Instant::now();
    let back = eventually("the bucket", SOON, async || Bucket::presence().ensure(&here.nats).await.ok()).await;
    assert_eq!(back.status().await.unwrap().bucket(), PRESENCE_BUCKET);
    here.renew(LONG).await;
    here.put(anna, Away).await;

    let events = Events::of(&world.nats).await;
    eventually("the call", SOON, async || {
        let actor = Actor { user_id: anna, session_id: SessionId::new(), role: Role::User };
        let seen = world.call(&GetPresence { actor, user_ids: vec![anna] }).await.ok()?;
        (seen.presence[0].presence.status == PresenceStatus::Away).then_some(())
    })
    .await;
    let there = begin.elapsed();
    assert!(there < Duration::from_secs(5), "{there:?}");
    eventually("ready", SOON, async || missing_parts(&world).await.starts_with("HTTP/1.0 200").then_some(())).await;
    // And events come again.
    here.put(anna, Dnd).await;
    eventually("the event", SOON, async || events.about(anna).ends_with(&[PresenceStatus::Dnd]).then_some(())).await;
    // When somebody went is on disk.
    let [seen] = ask(&world, &[ben]).await.try_into().unwrap();
    assert_eq!((seen.presence.last_seen_at, seen.revision, seen.presence.online), (went, 0, false));
}

#[tokio::test]
async fn questions_are_answered_in_order_up_to_a_limit() {
    let world = World::start().await;
    let here = Gateway::start(&world.nats, LONG).await;
    let (anna, ben, nobody) = (UserId::new(), UserId::new(), UserId::new());
    for user in [anna, ben] {
        here.put(user, Online).await;
        becomes(&world, user, PresenceStatus::Online).await;
    }
    let order = [nobody, ben, anna, ben];
    let seen = ask(&world, &order).await;
    assert_eq!(seen.iter().map(|seen| seen.presence.user_id).collect::<Vec<_>>(), order);
    let unknown = Presence { user_id: nobody, online: false, status: PresenceStatus::Offline, last_seen_at: None };
    assert_eq!(seen[0], Seen { presence: unknown, revision: 0 });
    assert_eq!(seen[1], seen[3]);
    assert!(seen[1].presence.online && seen[2].presence.online);

    assert!(ask(&world, &[]).await.is_empty());
    let actor = Actor { user_id: anna, session_id: SessionId::new(), role: Role::User };
    let user_ids: Vec<UserId> = (0..=MAX_PRESENCE).map(|_| UserId::new()).collect();
    assert_eq!(ask(&world, &user_ids[1..]).await.len(), MAX_PRESENCE);
    let refusal = refused(world.call(&GetPresence { actor, user_ids }).await, Code::Invalid);
    assert_eq!(refusal.errors[0].field, "userIds");
}

#[tokio::test]
async fn presence_needs_no_database() {
    let world = World::start_on(Nats::start().await, Mongo::start().await, json!({})).await;
    if !world.mongo.can_stop() {
        return;
    }
    let here = Gateway::start(&world.nats, LONG).await;
    let anna = UserId::new();
    world.mongo.stop().await;
    eventually("the loss is noticed", SOON, async || missing_parts(&world).await.contains("mongo").then_some(())).await;
    here.put(anna, Online).await;
    becomes(&world, anna, PresenceStatus::Online).await;
    here.remove(anna).await;
    becomes(&world, anna, PresenceStatus::Offline).await;
}

#[tokio::test]
async fn two_instances_agree_on_people_who_come_and_go_quickly() {
    let world = World::start().await;
    let other = world.another().await;
    let events = Events::of(&world.nats).await;
    let gateways = [Gateway::start(&world.nats, LONG).await, Gateway::start(&world.nats, LONG).await];
    let users: Vec<UserId> = (0..40).map(|_| UserId::new()).collect();
    let restless = users.iter().enumerate().map(|(n, user)| {
        let gateways = &gateways;
        async move {
            // What they come back as is what they were: an instance that is late finds nothing to do, and must not be
            // followed by one that is later still.
            for round in 0..20 {
                let gateway = &gateways[(n + round) % 2];
                gateway.put(*user, Dnd).await;
                gateway.remove(*user).await;
            }
            if n.is_multiple_of(2) {
                gateways[n / 2 % 2].put(*user, Dnd).await;
            }
        }
    });
    futures::future::join_all(restless).await;
    settled(&world, &gateways[0]).await;
    let status = |n: usize| if n.is_multiple_of(2) { PresenceStatus::Dnd } else { PresenceStatus::Offline };
    let expected: Vec<_> = (0..users.len()).map(status).collect();
    // The server settles what is superseded while it is worked on, so that may last a moment longer.
    eventually("all is as was said last", SOON, async || {
        let seen: Vec<_> = ask(&world, &users).await.iter().map(|seen| seen.presence.status).collect();
        (seen == expected).then_some(())
    })
    .await;
    for user in users {
        let about = events.about(user);
        assert!(about.windows(2).all(|pair| pair[0] != pair[1]), "only changes are published: {about:?}");
    }
    other.stop();
    other.run_until_stopped().await.unwrap();
}

#[tokio::test]
async fn a_change_that_was_not_heard_of_yet_is_waited_for() {
    let world = World::start().await;
    let here = Gateway::start(&world.nats, LONG).await;
    let lease = [PresenceKey::Lease(here.id).to_string()];
    let read = async |seen| service::last_revisions(&here.nats, PRESENCE_BUCKET, &lease, seen).await;
    let revision = read(0).await.unwrap()[0].sequence;
    assert_eq!(read(revision).await.unwrap().len(), 1);
    assert!(matches!(read(revision + 1).await, Err(KvError::Read(service::ReadError::Behind))));
}
