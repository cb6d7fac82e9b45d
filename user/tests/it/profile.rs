//! What people see of each other.

use std::time::Duration;

use contract::{
    Actor, Code, Time, UserId,
    text::{AvatarUrl, Bio, Emoji},
    user::{
        GetUser, KnownUsers, ProfileChanges, SearchUsers, SetStatus, Status, Tokens, UpdateProfile, User, UserPage,
    },
};
use serde_json::json;
use testkit::eventually;

use crate::world::{PASSWORD, SOON, World, name, refused};

const ANNA: &str = "anna@example.org";

#[tokio::test]
async fn one_sees_others_without_what_is_theirs_alone() {
    let world = World::start().await;
    let anna = world.sign_up(ANNA).await;
    let actor = world.actor(&world.sign_up("ben@example.org").await).await;

    let user = world.call(&GetUser { actor, user_id: anna.user.user.id }).await.unwrap();

    assert_eq!(user, anna.user.user);
    let json = serde_json::to_value(&user).unwrap();
    assert_eq!(json["status"], json!(null));
    assert!(json.get("email").is_none() && json.get("role").is_none());
    refused(world.call(&GetUser { actor, user_id: UserId::new() }).await, Code::NotFound);
}

#[tokio::test]
async fn who_has_proven_nothing_is_not_there() {
    let world = World::start().await;
    let actor = world.actor(&world.sign_up(ANNA).await).await;
    world.register("ghost@example.org", PASSWORD).await.unwrap();
    let ghost = world.documents("users", mongodb::bson::doc! { "email": "ghost@example.org" }).await.remove(0);
    let ghost: UserId = ghost.get_str("_id").unwrap().parse().unwrap();

    refused(world.call(&GetUser { actor, user_id: ghost }).await, Code::NotFound);
    assert!(search(&world, actor, "ghost@example.org", None, 10).await.users.is_empty());
    assert_eq!(search(&world, actor, "Anna", None, 10).await.users.len(), 1, "both are called Anna");
    let known = world.call(&KnownUsers { user_ids: vec![ghost, actor.user_id, UserId::new()] }).await.unwrap();
    assert_eq!(known.user_ids, [actor.user_id]);
}

#[tokio::test]
async fn known_has_a_bound() {
    let world = World::start().await;
    world.call(&KnownUsers { user_ids: (0..1_000).map(|_| UserId::new()).collect() }).await.unwrap();
    let refusal =
        refused(world.call(&KnownUsers { user_ids: (0..1_001).map(|_| UserId::new()).collect() }).await, Code::Invalid);
    assert_eq!(refusal.errors[0].field, "userIds");
}

#[tokio::test]
async fn absent_stays_and_null_empties() {
    let world = World::start().await;
    let actor = world.actor(&world.sign_up(ANNA).await).await;
    let update = async |changes: serde_json::Value| -> User {
        let changes: ProfileChanges = serde_json::from_value(changes).unwrap();
        world.call(&UpdateProfile { actor, changes }).await.unwrap()
    };

    let all = update(json!({ "name": "Änne", "bio": "Hello", "avatarUrl": "https://example.org/a.png" })).await;
    assert_eq!((&*all.name, all.bio.clone(), all.avatar_url.clone()), ("Änne", some_bio(), some_avatar()));
    assert_eq!(update(json!({})).await, all);
    let renamed = update(json!({ "name": "Anne" })).await;
    assert_eq!((&*renamed.name, renamed.bio, renamed.avatar_url), ("Anne", some_bio(), some_avatar()));
    let emptied = update(json!({ "bio": null })).await;
    assert_eq!((emptied.bio.clone(), emptied.avatar_url.clone()), (None, some_avatar()));
    assert_eq!(world.call(&GetUser { actor, user_id: actor.user_id }).await.unwrap(), emptied);

    let nobody = Actor { user_id: UserId::new(), ..actor };
    let changes = ProfileChanges { name: Some(name("x")), ..Default::default() };
    refused(world.call(&UpdateProfile { actor: nobody, changes }).await, Code::NotFound);
}

fn some_bio() -> Option<Bio> {
    Bio::new("Hello").ok()
}

fn some_avatar() -> Option<AvatarUrl> {
    AvatarUrl::new("https://example.org/a.png").ok()
}

#[tokio::test]
async fn a_status_lasts_until_it_is_over() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    let actor = world.actor(&tokens).await;
    let set = async |until: Option<Time>| {
        let status = Status { text: Some(name("On holiday")), emoji: Emoji::new("🏖️").ok(), until };
        let user = world.call(&SetStatus { actor, status: Some(status.clone()) }).await.unwrap();
        (user.status, Some(status))
    };

    let (shown, given) = set(None).await;
    assert_eq!(shown, given);
    assert_eq!(world.me(&tokens).await.user.status, given);

    let (shown, given) = set(Some(Time::now().plus(Duration::from_millis(500)))).await;
    assert_eq!(shown, given);
    eventually("the status to be over", SOON, async || world.me(&tokens).await.user.status.is_none().then_some(()))
        .await;

    let (shown, _) = set(Some(Time::from_millis(0))).await;
    assert_eq!(shown, None);

    set(None).await;
    assert_eq!(world.call(&SetStatus { actor, status: None }).await.unwrap().status, None);
    assert_eq!(world.me(&tokens).await.user.status, None);
}

#[tokio::test]
async fn people_are_found_by_the_beginning_of_their_name() {
    let world = World::start().await;
    let actor = world.actor(&sign_up_as(&world, "Zoe", "zoe@example.org").await).await;
    let names = ["anna", "Anna", "ANNABEL", "Änne", "Ann", "Ben", "annb"];
    for (index, name) in names.iter().enumerate() {
        sign_up_as(&world, name, &format!("{index}@example.org")).await;
    }

    let found = async |query: &str| names_of(&search(&world, actor, query, None, 50).await);
    assert_eq!(found("ann").await, ["Ann", "ANNABEL", "anna", "Anna", "annb"].map(lower).sorted());
    assert_eq!(found("ANNA").await, ["anna", "anna", "annabel"]);
    assert_eq!(found("änn").await, ["änne"]);
    assert_eq!(found("nna").await, [""; 0]);
    assert_eq!(found("a.*").await, [""; 0]);
    assert_eq!(found("$").await, [""; 0]);
    assert_eq!(found("").await.len(), 8);
    assert_eq!(found(" 5@EXAMPLE.org ").await, ["ben"]);
    assert_eq!(found("5@example").await, [""; 0]);
    assert_eq!(found("5@example.org.evil").await, [""; 0]);
}

#[tokio::test]
async fn pages_follow_one_another_also_where_people_come_meanwhile() {
    let world = World::start().await;
    let actor = world.actor(&sign_up_as(&world, "Zoe", "zoe@example.org").await).await;
    let mut expected = Vec::new();
    for index in 0..7 {
        // Three of one name: their order is by id.
        let name = ["Eva", "Eva", "Eva", "Evan", "Ewald", "Eve", "Ev"][index];
        expected.push(sign_up_as(&world, name, &format!("{index}@example.org")).await.user.user);
    }
    expected.retain(|user| user.name.to_lowercase().starts_with("ev"));
    expected.sort_by_key(|user| (user.name.to_lowercase(), user.id));

    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = search(&world, actor, "eV", cursor, 2).await;
        assert!(page.users.len() <= 2);
        pages.extend(page.users);
        // Before all that is to come.
        sign_up_as(&world, "Ev", &format!("late{}@example.org", pages.len())).await;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, expected);

    for (query, limit, cursor, field) in [
        ("x", 0, None, "limit"),
        ("x", 201, None, "limit"),
        ("x", 10, Some("nonsense"), "cursor"),
        (&"x".repeat(255), 10, None, "query"),
    ] {
        let cursor = cursor.map(str::to_owned);
        let refusal =
            refused(world.call(&SearchUsers { actor, query: query.to_owned(), cursor, limit }).await, Code::Invalid);
        assert_eq!(refusal.errors[0].field, field);
    }
}

async fn search(world: &World, actor: Actor, query: &str, cursor: Option<String>, limit: u32) -> UserPage {
    world.call(&SearchUsers { actor, query: query.to_owned(), cursor, limit }).await.unwrap()
}

async fn sign_up_as(world: &World, called: &str, email: &str) -> Tokens {
    let mut tokens = world.sign_up(email).await;
    let changes = ProfileChanges { name: Some(name(called)), ..Default::default() };
    tokens.user.user = world.call(&UpdateProfile { actor: world.actor(&tokens).await, changes }).await.unwrap();
    tokens
}

fn names_of(page: &UserPage) -> Vec<String> {
    page.users.iter().map(|user| lower(&user.name)).collect()
}

fn lower(name: &str) -> String {
    name.to_lowercase()
}

trait Sorted {
    fn sorted(self) -> Vec<String>;
}

impl<const N: usize> Sorted for [String; N] {
    fn sorted(mut self) -> Vec<String> {
        self.sort();
        self.into()
    }
}
