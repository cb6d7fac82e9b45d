//! Where people get letters, as the mail service asks.

use contract::{
    Code, UserId,
    user::{Contact, Contacts, GetContacts, ListContacts},
};
use mongodb::bson::{DateTime, Document, doc};

use crate::world::{PASSWORD, World, refused};

/// People who were there before, `verified` or not.
async fn insert(world: &World, people: impl Iterator<Item = (UserId, bool)>) {
    let documents = people.map(|(id, verified)| {
        doc! {
            "_id": id.to_string(), "email": format!("{id}@example.org"), "emailVerified": verified,
            "name": "Somebody", "nameLower": "somebody", "role": "user", "createdAt": DateTime::now(),
        }
    });
    let users = world.mongo.connect().await.collection::<Document>("users");
    users.insert_many(documents).await.unwrap();
}

fn ids(contacts: Contacts) -> Vec<UserId> {
    contacts.contacts.into_iter().map(|contact| contact.id).collect()
}

#[tokio::test]
async fn those_who_are_there_and_have_proven_their_address_get_letters() {
    let world = World::start().await;
    let anna = world.sign_up("anna@example.org").await.user;
    world.register("unverified@example.org", PASSWORD).await.unwrap();
    let unverified = world.documents("users", doc! { "emailVerified": false }).await.remove(0);
    let unverified = unverified.get_str("_id").unwrap().parse().unwrap();

    let contact = [Contact { id: anna.user.id, name: anna.user.name.clone(), email: anna.email.clone() }];
    let asked = GetContacts { user_ids: vec![UserId::new(), unverified, anna.user.id, anna.user.id] };
    assert_eq!(world.call(&asked).await.unwrap().contacts, contact);
    assert!(world.call(&GetContacts { user_ids: Vec::new() }).await.unwrap().contacts.is_empty());
    assert_eq!(world.call(&ListContacts { after: None, limit: 10 }).await.unwrap().contacts, contact);
}

#[tokio::test]
async fn everybody_comes_once_page_by_page() {
    let world = World::start().await;
    let people: Vec<_> = (0..25).map(|number| (UserId::new(), number % 5 != 0)).collect();
    insert(&world, people.iter().copied()).await;

    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ids(world.call(&ListContacts { after, limit: 6 }).await.unwrap());
        after = page.last().copied();
        let last = page.len() < 6;
        all.extend(page);
        if last {
            break;
        }
    }
    let mut expected: Vec<_> = people.iter().filter(|(_, verified)| *verified).map(|(id, _)| *id).collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_thousand_at_most() {
    let world = World::start().await;
    let people: Vec<_> = (0..1_005).map(|_| UserId::new()).collect();
    insert(&world, people.iter().map(|id| (*id, true))).await;

    assert_eq!(ids(world.call(&ListContacts { after: None, limit: 1_000 }).await.unwrap()), people[..1_000]);
    let asked = GetContacts { user_ids: people[5..].to_vec() };
    assert_eq!(world.call(&asked).await.unwrap().contacts.len(), 1_000);
    let refusal = refused(world.call(&GetContacts { user_ids: people }).await, Code::Invalid);
    assert_eq!(refusal.errors[0].field, "userIds");
    for limit in [0, 1_001, u32::MAX] {
        let refusal = refused(world.call(&ListContacts { after: None, limit }).await, Code::Invalid);
        assert_eq!(refusal.errors[0].field, "limit");
    }
}
