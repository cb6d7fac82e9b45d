//! Calls: the key to subscribe with, subscriptions that come and end.

use contract::{
    Done, Refusal,
    push::{EndSubscription, GetPushKey, PushKey, Subscribe},
};
use service::Endpoints;

use super::{Push, subscription::Target};

/// The endpoints of Web Push, beside others whatever their state is.
pub(crate) fn serve<S: Clone + Send + Sync + 'static>(endpoints: Endpoints<S>, push: &Push) -> Endpoints<S> {
    endpoints.serve(with(push, push_key)).serve(with(push, subscribe)).serve(with(push, end_subscription))
}

fn with<S, R, F>(push: &Push, call: fn(Push, R) -> F) -> impl Fn(S, R) -> F + Send + Sync + 'static
where
    R: 'static,
    F: 'static,
{
    let push = push.clone();
    move |_, request| call(push.clone(), request)
}

async fn push_key(push: Push, _: GetPushKey) -> Result<PushKey, Refusal> {
    Ok(PushKey { public_key: push.on()?.public_key().to_owned() })
}

async fn subscribe(push: Push, Subscribe { actor, subscription }: Subscribe) -> Result<Done, Refusal> {
    push.on()?;
    Target::check(&subscription, push.allow_private)?;
    push.store.put(actor.user_id, subscription).await?;
    Ok(Done {})
}

async fn end_subscription(push: Push, EndSubscription { actor, endpoint }: EndSubscription) -> Result<Done, Refusal> {
    push.store.end(actor.user_id, &endpoint).await?;
    Ok(Done {})
}

impl Push {
    fn on(&self) -> Result<&super::Client, Refusal> {
        self.client.as_deref().ok_or_else(|| Refusal::unavailable("This server does not push to browsers."))
    }
}
