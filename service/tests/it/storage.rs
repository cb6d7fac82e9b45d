//! Buckets with per-key TTL, compare-and-set, and reading many keys at once.

use std::time::Duration;

use async_nats::jetstream::stream::{self, StorageType};
use contract::{
    ChatId,
    storage::{CHATS_BUCKET, MEMBERS_BUCKET, log_stream, log_subject},
};
use futures::future::join_all;
use service::{Bucket, KvError, Service, last_values, leaders_end};
use testkit::{Nats, eventually};

use crate::world::{SOON, config, service};

#[tokio::test]
async fn keys_are_compared_set_and_expire() {
    let nats = Nats::start().await;
    let chat = service(&nats, "chat").await;
    let nats = chat.nats();
    Bucket::durable(MEMBERS_BUCKET, "x").with_ttl(Duration::from_mins(1)).ensure(nats).await.unwrap();
    let read = async |key: &str| last_values(nats, MEMBERS_BUCKET, &[key.to_owned()]).await.unwrap();

    let first = nats.put_at(MEMBERS_BUCKET, "a.b", "1".into(), None, 0).await.unwrap();
    assert!(matches!(nats.put_at(MEMBERS_BUCKET, "a.b", "2".into(), None, 0).await, Err(KvError::Conflict)));
    let second = nats.put_at(MEMBERS_BUCKET, "a.b", "2".into(), None, first).await.unwrap();
    assert_eq!((read("a.b").await[0].sequence, &*read("a.b").await[0].payload), (second, b"2".as_slice()));
    // A key that is there is refreshed with a TTL, and gone after it.
    nats.put(MEMBERS_BUCKET, "a.b", "3".into(), Some(Duration::from_secs(1))).await.unwrap();
    eventually("the key expires", SOON, async || read("a.b").await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn any_number_of_keys_is_read_at_once() {
    let nats = Nats::start().await;
    let chat = service(&nats, "chat").await;
    let nats = chat.nats();
    Bucket::volatile(MEMBERS_BUCKET, "x").ensure(nats).await.unwrap();
    let put = |n: usize| async move { nats.put(MEMBERS_BUCKET, &format!("u.k{n}"), "v".into(), None).await.unwrap() };
    join_all((0..1_500).map(put)).await;
    assert_eq!(last_values(nats, MEMBERS_BUCKET, &["u.*".to_owned()]).await.unwrap().len(), 1_500);
    let exact: Vec<String> = (0..1_500).map(|n| format!("u.k{n}")).collect();
    assert_eq!(last_values(nats, MEMBERS_BUCKET, &exact).await.unwrap().len(), 1_500);
    assert!(last_values(nats, MEMBERS_BUCKET, &["nobody.*".to_owned()]).await.unwrap().is_empty());
}

#[tokio::test]
async fn volatile_buckets_are_on_disk_in_a_cluster_unless_they_began_on_one_node() {
    let nodes = Nats::cluster(3).await;
    let in_cluster = async |replicas| {
        let mut config = config(&nodes[0], "chat");
        config.nats.replicas = replicas;
        Service::start("chat", &config).await.unwrap()
    };
    let (alone, together) = (in_cluster(1).await, in_cluster(3).await);
    let kept = async |of: &Service, bucket| {
        let store = Bucket::volatile(bucket, "x").ensure(of.nats()).await.unwrap();
        let config = &store.stream.cached_info().config;
        (config.storage, config.num_replicas)
    };
    assert_eq!(kept(&together, CHATS_BUCKET).await, (StorageType::File, 3));
    assert_eq!(kept(&alone, MEMBERS_BUCKET).await, (StorageType::Memory, 1));
    assert_eq!(kept(&together, MEMBERS_BUCKET).await, (StorageType::Memory, 3));
}

#[tokio::test]
async fn a_leader_says_where_a_subject_ends() {
    let nodes = Nats::cluster(3).await;
    let chat = service(&nodes[0], "chat").await;
    let nats = chat.nats();
    let (told, empty) = (ChatId::new(), ChatId::new());
    let (name, subjects) = (log_stream(told), [log_subject(told), log_subject(empty)]);
    let stream =
        stream::Config { name: name.to_owned(), subjects: subjects.to_vec(), num_replicas: 3, ..Default::default() };
    nats.jetstream().create_stream(stream).await.unwrap();
    let mut last = 0;
    for _ in 0..3 {
        last = nats.jetstream().publish(subjects[0].clone(), "x".into()).await.unwrap().await.unwrap().sequence;
        assert_eq!(leaders_end(nats, name, &subjects[0]).await.unwrap(), last);
    }
    assert_eq!((last, leaders_end(nats, name, &subjects[1]).await.unwrap()), (3, 0));
}
