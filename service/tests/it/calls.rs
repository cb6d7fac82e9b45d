//! Calls are always answered.

use std::time::{Duration, Instant};

use contract::{
    Code, Refusal,
    chat::{GetRooms, Rooms},
    user::{GetJwks, KnownUsers},
};
use service::{Caller, Service, Trace};
use testkit::{Nats, eventually};

use crate::world::{SOON, service};

/// Answers, refuses or panics by the number of ids it is asked for.
async fn known((): (), request: KnownUsers) -> Result<contract::user::Known, Refusal> {
    match request.user_ids.len() {
        0 => Err(Refusal::field("userIds", "must not be\r\nempty")),
        1 => panic!("on purpose"),
        2 => std::future::pending().await,
        _ => Ok(contract::user::Known { user_ids: request.user_ids }),
    }
}

fn asked(ids: usize) -> KnownUsers {
    KnownUsers { user_ids: (0..ids).map(|_| contract::UserId::new()).collect() }
}

#[tokio::test]
async fn every_outcome_of_a_handler_is_answered() {
    let nats = Nats::start().await;
    let user = service(&nats, "user").await;
    user.endpoints(()).serve(known).open().await.unwrap();
    let caller = Caller::new(nats.connect("gateway").await);

    assert_eq!(caller.call(&asked(3)).await.unwrap().user_ids.len(), 3);
    let refused = caller.call(&asked(0)).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (Code::Invalid, "userIds"));
    assert_eq!(caller.call(&asked(1)).await.unwrap_err().code, Code::Internal);
    let begun = Instant::now();
    let patient = caller.within(Duration::from_millis(300));
    assert_eq!(patient.call(&asked(2)).await.unwrap_err().code, Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(3));
    // Nobody serves this: refused at once, not after the time-out.
    let begun = Instant::now();
    assert_eq!(caller.call(&GetJwks {}).await.unwrap_err().code, Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2));
    // After a panic and a hanging call it serves on.
    assert_eq!(caller.call(&asked(4)).await.unwrap().user_ids.len(), 4);
}

#[tokio::test]
async fn one_instance_is_called_and_any_only_where_nothing_is_done_twice() {
    let nats = Nats::start().await;
    let (one, other) = (service(&nats, "user").await, service(&nats, "user").await);
    // The ids of the one it came to are more than were asked for.
    let serve = async |service: &Service, more: usize| {
        let known = move |(): (), mut request: KnownUsers| async move {
            request.user_ids.extend((0..more).map(|_| contract::UserId::new()));
            known((), request).await
        };
        service.endpoints(()).serve_here(known).open().await.unwrap();
    };
    serve(&one, 10).await;
    serve(&other, 20).await;
    let caller = Caller::new(nats.connect("gateway").await);
    let instance = other.nats().instance().to_owned();
    for _ in 0..8 {
        let known = caller.call_instance_or_any_once(&instance, &asked(3)).await.unwrap();
        assert_eq!(known.user_ids.len(), 23);
    }
    let known = caller.call_instance_or_any_once("gone", &asked(3)).await.unwrap();
    assert!([13, 23].contains(&known.user_ids.len()));
}

#[tokio::test]
async fn what_does_not_fit_the_request_names_its_field() {
    let nats = Nats::start().await;
    let user = service(&nats, "user").await;
    user.endpoints(()).serve(known).open().await.unwrap();
    let client = nats.connect("gateway").await;
    for (body, field) in [
        (r#"{"userIds": ["x"]}"#, Some("userIds[0]")),
        (r#"{"userIds": "x"}"#, Some("userIds")),
        ("{", None),
        ("", None),
        ("\u{0}", None),
    ] {
        let reply = client.request("call.user.known", body.into()).await.unwrap();
        let headers = reply.headers.unwrap();
        assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "422", "{body}");
        let refusal: Refusal = serde_json::from_str(headers.get("Natter-Refusal").unwrap().as_str()).unwrap();
        assert_eq!(refusal.errors.first().map(|error| error.field.as_str()), field, "{body}");
    }
}

#[tokio::test]
async fn a_trace_goes_along_with_a_call() {
    async fn rooms((): (), _get: GetRooms) -> Result<Rooms, Refusal> {
        Err(Refusal::forbidden(Trace::current().id()))
    }
    let nats = Nats::start().await;
    let chat = service(&nats, "chat").await;
    chat.endpoints(()).serve(rooms).open().await.unwrap();
    let caller = Caller::new(nats.connect("gateway").await);
    let trace = Trace::start();
    let get = GetRooms { user_id: contract::UserId::new() };
    let refused = trace.scope(caller.call(&get)).await.unwrap_err();
    assert_eq!(refused.message, trace.id());
}

#[tokio::test]
async fn endpoints_are_there_again_after_nats_was_away_and_go_at_the_stop() {
    let mut nats = Nats::start().await;
    let user = service(&nats, "user").await;
    user.endpoints(()).serve(known).open().await.unwrap();
    user.started();
    let (lifecycle, readiness) = (user.lifecycle().clone(), user.readiness().clone());
    let caller = Caller::new(nats.connect("gateway").await);
    nats.kill().await;
    eventually("readiness says that NATS is away", SOON, async || readiness.missing().contains(&"nats").then_some(()))
        .await;
    nats.start_again().await;
    eventually("calls are answered", SOON, async || caller.call(&asked(3)).await.ok()).await;
    assert!(readiness.missing().is_empty());

    lifecycle.stop();
    user.run_until_stopped().await.unwrap();
    let refused = caller.call(&asked(3)).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
}

#[tokio::test]
async fn a_service_may_start_before_nats_does() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let user = service(&nats, "user").await;
    let readiness = user.readiness().clone();
    let opening = tokio::spawn(async move {
        user.endpoints(()).serve(known).open().await.unwrap();
        user
    });
    eventually("NATS is missed", SOON, async || readiness.missing().contains(&"nats").then_some(())).await;
    nats.start_again().await;
    let _user = opening.await.unwrap();
    let caller = Caller::new(nats.connect("gateway").await);
    assert_eq!(caller.call(&asked(3)).await.unwrap().user_ids.len(), 3);
}

#[tokio::test]
async fn a_task_that_dies_takes_the_service_down() {
    let nats = Nats::start().await;
    let user = service(&nats, "user").await;
    user.lifecycle().keep("dies", async { panic!("on purpose") });
    assert!(matches!(user.run_until_stopped().await, Err(service::StopError::TaskDied)));
}

#[tokio::test]
async fn the_admin_port_says_what_is_missing() {
    let mut nats = Nats::start().await;
    let user = service(&nats, "user").await;
    let rest = testkit::rest::Rest::new(format!("http://{}", user.admin_addr()));
    assert_eq!(rest.get("/healthz").await.status, 200);
    eventually("started is missing", SOON, async || {
        let answer = rest.get("/readyz").await;
        (answer.status == 503 && answer.body["missing"] == serde_json::json!(["started"])).then_some(())
    })
    .await;
    user.started();
    assert_eq!(rest.get("/readyz").await.status, 200);
    nats.kill().await;
    eventually("nats is missing", SOON, async || {
        (rest.get("/readyz").await.body["missing"] == serde_json::json!(["nats"])).then_some(())
    })
    .await;
    assert_eq!(rest.get("/metrics").await.status, 200);
}
