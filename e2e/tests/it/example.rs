//! The client that frontends are shown, `docs/examples/natter-client.mjs`, does what it says.

use e2e::client::picture;
use serde_json::{Value, json};
use testkit::{System, SystemOptions, eventually, rest::Rest, socketio::Driver};

use crate::sight::{Person, SOON, direct, person};

/// Waits until the example shows what a fetch says, which is returned.
async fn shows_what_is(example: &testkit::socketio::Client, ben: &Person, rest: &Rest) -> Value {
    eventually("the example client shows what a fetch says", SOON, async || {
        let view = example.view().await;
        let mut fresh = picture::fresh(rest, ben.id(), &[]).await?;
        picture::only_loaded(&mut fresh, &view);
        picture::differences(view.clone(), fresh).is_empty().then_some(view)
    })
    .await
}

#[tokio::test]
async fn the_example_client_that_is_cut_off_misses_and_doubles_nothing() {
    let mut system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = direct(&anna, &ben).await;
    let send = async |first: usize, last: usize| {
        for n in first..=last {
            let ack = anna.send(&chat, &format!("a{n}"), &format!("text {n}")).await;
            assert_eq!(ack["ok"], true, "{ack}");
        }
    };
    send(1, 150).await;
    let (url, rest) = (system.gateway(1).url(), ben.rest.clone());
    let example = driver.open_example(&url, ben.id(), &ben.session.access_token);
    let view = shows_what_is(&example, &ben, &rest).await;
    let loaded = view["chats"][&chat]["messages"].as_object().unwrap();
    assert!(loaded.len() >= 50 && loaded.contains_key("150"), "the newest messages are there");

    // The network is lost in the middle.
    tokio::join!(send(151, 200), async {
        example.wait("message:new", |args| args[0]["seq"] == 160, SOON).await;
        example.drop_transport();
    });
    shows_what_is(&example, &ben, &rest).await;

    // The gateway dies; meanwhile there are changes, and a chat that is new, and one that is left.
    let garden = json!({ "type": "group", "name": "Garden", "memberIds": [ben.id()] });
    let left = anna.rest.post("/api/chats", garden.clone()).await.expect(201);
    shows_what_is(&example, &ben, &rest).await;
    system.gateway(1).kill().await;
    example.wait("disconnect", |args| args[0] == "transport close", SOON).await;
    send(201, 220).await;
    for (event, payload) in [
        ("message:edit", json!({ "chatId": chat, "seq": 190, "text": "edited" })),
        ("message:delete", json!({ "chatId": chat, "seq": 191 })),
        ("reaction:add", json!({ "chatId": chat, "seq": 192, "emoji": "🌱" })),
    ] {
        assert_eq!(anna.socket.request(event, payload).await["ok"], true);
    }
    let new = anna.rest.post("/api/chats", garden).await.expect(201);
    anna.rest.delete(&format!("/api/chats/{}/members/{}", left["id"].as_str().unwrap(), ben.id())).await.expect(204);
    system.start_again("gateway", 1).await;
    let view = shows_what_is(&example, &ben, &rest).await;
    assert_eq!(view["chats"].as_object().unwrap().len(), 2);
    assert_eq!(view["chats"][new["id"].as_str().unwrap()]["name"], "Garden");

    // It goes on live, and answers.
    let ack = example.call("send", json!([chat, "I have read it all", "b1"])).await;
    assert_eq!(ack["message"]["seq"], 221, "{ack}");
    send(222, 230).await;
    let view = shows_what_is(&example, &ben, &rest).await;
    let messages = view["chats"][&chat]["messages"].as_object().unwrap();
    let first = messages.keys().map(|seq| seq.parse::<usize>().unwrap()).min().unwrap();
    assert_eq!(messages.len(), 230 - first + 1, "none is missing between the first and the last");
}
