//! People hear of sign-ins from devices that are new to their account.

use contract::{
    mail::{Content, Letter},
    text::{Device, Secret},
    user::{Client, Login, LoginBody, Logout, Tokens, Verify, VerifyBody},
};
use mongodb::bson::doc;
use serde_json::json;

use crate::world::{PASSWORD, World, address, new_password};

const ANNA: &str = "anna@example.org";
const IP: &str = "192.0.2.7";

async fn login_from(world: &World, device: Option<&str>, user_agent: Option<&str>) -> Tokens {
    let device = device.map(|device| Device::new(device).unwrap());
    let client = Client { ip: Some(IP.to_owned()), user_agent: user_agent.map(str::to_owned) };
    let body = LoginBody { email: address(ANNA), password: Secret::new(PASSWORD), device };
    world.call(&Login { body, client }).await.unwrap()
}

async fn verify_from(world: &World, device: &str) -> Tokens {
    let body = VerifyBody {
        email: address(ANNA),
        code: Secret::new(world.code(ANNA).await),
        device: Some(Device::new(device).unwrap()),
    };
    world.call(&Verify { body, client: Client::default() }).await.unwrap()
}

async fn sign_up_from(world: &World, device: &str) -> Tokens {
    world.register(ANNA, PASSWORD).await.unwrap();
    verify_from(world, device).await
}

/// The notices so far.
async fn notices(world: &World) -> Vec<(Letter, Option<Device>, Option<String>)> {
    let letters = world.letters(ANNA).await.into_iter();
    let notices = letters.filter_map(|letter| match letter.content.clone() {
        Content::NewSignIn { device, ip, .. } => Some((letter, device, ip)),
        _ => None,
    });
    notices.collect()
}

#[tokio::test]
async fn only_a_device_that_is_new_is_told_of() {
    let world = World::start().await;
    let phone = sign_up_from(&world, "Phone").await;
    login_from(&world, Some("Phone"), None).await;
    world.refresh(&phone.refresh_token).await.unwrap();
    assert!(notices(&world).await.is_empty(), "neither the first sign-in, nor the same device, nor a refresh");

    let laptop = login_from(&world, None, Some("Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0")).await;
    let all = notices(&world).await;
    let [(letter, device, ip)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((device.as_deref(), ip.as_deref()), (Some("Firefox on Linux"), Some(IP)));
    assert_eq!((&*letter.to, letter.name.as_deref()), (ANNA, Some("Anna")));

    // Ended sessions are forgotten, their devices are not.
    world.call(&Logout { actor: world.actor(&laptop).await }).await.unwrap();
    login_from(&world, None, Some("Mozilla/5.0 (X11; Linux x86_64) Firefox/146.0")).await;
    assert_eq!(notices(&world).await.len(), 1);

    login_from(&world, None, None).await;
    login_from(&world, None, None).await;
    let all = notices(&world).await;
    assert_eq!((all.len(), all[1].1.as_deref()), (2, None), "a device without a name is one too");
}

#[tokio::test]
async fn a_code_is_a_sign_in_as_well() {
    let world = World::start().await;
    sign_up_from(&world, "Phone").await;
    world.request_otp(ANNA).await.unwrap();
    verify_from(&world, "Phone").await;
    world.request_otp(ANNA).await.unwrap();
    verify_from(&world, "Tablet").await;
    let devices: Vec<_> = notices(&world).await.into_iter().map(|(_, device, _)| device).collect();
    assert_eq!(devices, [Some(Device::new("Tablet").unwrap())]);
}

#[tokio::test]
async fn after_a_reset_the_devices_are_still_known() {
    let world = World::start().await;
    sign_up_from(&world, "Phone").await;
    world.forgot_password(ANNA).await.unwrap();
    let code = world.reset_codes(ANNA).await.pop().unwrap();
    let reset = contract::user::ResetPassword {
        email: address(ANNA),
        code: Secret::new(code),
        password: new_password(PASSWORD),
    };
    world.call(&reset).await.unwrap();
    login_from(&world, Some("Phone"), None).await;
    assert!(notices(&world).await.is_empty());
    login_from(&world, Some("Laptop"), None).await;
    assert_eq!(notices(&world).await.len(), 1);
}

#[tokio::test]
async fn the_fifty_that_were_used_last_are_known() {
    // More sign-ins than an account may have within so short a time.
    let world = World::start_with(json!({ "logins": { "per_second": 0, "burst": 0 } })).await;
    sign_up_from(&world, "Phone 0").await;
    for number in 1..52 {
        login_from(&world, Some(&format!("Phone {number}")), None).await;
        // Used all the time.
        login_from(&world, Some("Phone 0"), None).await;
    }
    let user = world.documents("users", doc! {}).await.remove(0);
    let devices = user.get_array("devices").unwrap();
    assert_eq!(devices.len(), 50);
    assert!(devices.iter().all(|device| device.as_str().unwrap().len() == 32), "{devices:?}");
    assert_eq!(notices(&world).await.len(), 51);
}

#[tokio::test]
async fn who_cannot_be_told_can_sign_in_and_is_told_the_next_time() {
    let world = World::start().await;
    sign_up_from(&world, "Phone").await;
    world.seal_letters(true).await;

    login_from(&world, Some("Laptop"), None).await;

    world.seal_letters(false).await;
    assert!(notices(&world).await.is_empty());
    login_from(&world, Some("Laptop"), None).await;
    assert_eq!(notices(&world).await.len(), 1);
}
