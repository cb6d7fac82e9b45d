//! What fails for now is tried again, what fails for good stays visible, nothing is lost.

use contract::Time;
use testkit::{
    eventually,
    smtp::{Fault, Options, Sink, Stage, Tls},
};

use crate::running::{DEADLINE, Running, header, notice, otp};

async fn wait_until_reached(sink: &Sink, stage: Stage, count: usize) {
    eventually(&format!("{stage:?}"), DEADLINE, async || (sink.reached(stage) >= count).then_some(())).await;
}

#[tokio::test]
async fn a_letter_that_is_refused_for_now_is_sent_later() {
    let sink = Sink::start().await;
    sink.fail(Stage::Rcpt, Fault::Answer("451 4.7.1 greylisted"), 2);
    sink.fail(Stage::Letter, Fault::Answer("452 4.3.1 disk full"), 1);
    sink.fail(Stage::Connect, Fault::Answer("421 4.3.2 busy"), 1);
    sink.fail(Stage::Data, Fault::Close, 1);
    let mail = Running::over(&sink, &[]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;

    assert_eq!(sink.wait_for(1).await[0].header("Message-ID"), "<otp-1@example.org>");
    mail.wait_until_empty().await;
    assert_eq!(sink.letters().len(), 1);
    assert_eq!(mail.count("MAIL_DEAD").await, 0);
    assert!(mail.log().contains("greylisted"), "{}", mail.log());
}

#[tokio::test]
async fn letters_wait_for_a_mail_server_that_is_down() {
    let mut sink = Sink::start().await;
    sink.stop().await;
    let mail = Running::over(&sink, &[]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.ask(&notice("ben@example.org"), "notice-1").await;
    mail.wait_for_log("cannot send letters at all").await;

    sink.start_again().await;
    sink.wait_for(2).await;
    mail.wait_until_empty().await;
}

#[tokio::test]
async fn a_mail_server_that_hangs_is_given_up_and_tried_again() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[("SMTP__TIMEOUT", "300ms"), ("SMTP__CONNECTIONS", "1")]).await;
    sink.fail(Stage::Letter, Fault::Hang, 1);
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    sink.wait_for(1).await;
    // The connection that was given up in mid-letter is not used for another one.
    mail.ask(&otp("ben@example.org", "678901"), "otp-2").await;
    let letters = sink.wait_for(2).await;
    assert_eq!(letters[1].subject(), "678901 is your Natter code");
    assert_eq!(sink.connections(), 2);
    mail.wait_until_empty().await;
}

#[tokio::test]
async fn a_letter_that_is_refused_for_good_is_dead_at_once() {
    let sink = Sink::start().await;
    sink.fail(Stage::Rcpt, Fault::Answer("550 5.1.1 no such user"), 1);
    let mail = Running::over(&sink, &[]).await;
    mail.ask(&otp("nobody@example.org", "012345"), "otp-1").await;

    let dead = &mail.dead(1).await[0];
    assert_eq!(dead.subject.as_str(), "mail.dead.otp");
    assert!(header(dead, "Natter-Reason").contains("no such user"), "{:?}", dead.headers);
    assert_eq!(header(dead, "Natter-Attempts"), "1");
    assert_eq!(header(dead, "Natter-Letter-Id"), "otp-1");
    assert_eq!(
        serde_json::from_slice::<contract::mail::Letter>(&dead.payload).unwrap().to.to_string(),
        "nobody@example.org"
    );
    mail.wait_until_empty().await;

    mail.ask(&notice("anna@example.org"), "notice-1").await;
    assert_eq!(sink.wait_for(1).await[0].to, ["anna@example.org"]);
    assert_eq!(sink.reached(Stage::Rcpt), 2);
}

#[tokio::test]
async fn a_letter_is_dead_when_its_attempts_are_used_up() {
    let sink = Sink::start().await;
    sink.fail(Stage::Rcpt, Fault::Answer("450 4.2.1 mailbox busy"), usize::MAX);
    let mail = Running::over(&sink, &[("RETRY__ATTEMPTS", "3")]).await;
    mail.ask(&notice("anna@example.org"), "notice-1").await;

    let dead = &mail.dead(1).await[0];
    assert_eq!(dead.subject.as_str(), "mail.dead.notice");
    assert_eq!(header(dead, "Natter-Attempts"), "3");
    assert!(header(dead, "Natter-Reason").contains("mailbox busy"));
    assert_eq!(sink.reached(Stage::Rcpt), 3);
    mail.wait_until_empty().await;
}

#[tokio::test]
async fn what_is_no_letter_is_dead_at_once() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[]).await;
    mail.publish("mail.send.otp", b"{\"to\": 7}".to_vec(), None).await;
    mail.publish("mail.send.notice", b"\xff\xfe".to_vec(), None).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;

    let dead = mail.dead(2).await;
    assert!(dead.iter().all(|letter| header(letter, "Natter-Reason").contains("not a letter")), "{dead:?}");
    assert_eq!(sink.wait_for(1).await[0].subject(), "012345 is your Natter code");
    mail.wait_until_empty().await;
}

#[tokio::test]
async fn a_wrong_password_kills_no_letter() {
    let login = Some(("natter".to_owned(), "correct horse".to_owned()));
    let sink = Sink::with(Options { tls: Tls::StartTls, login }).await;
    let ca = sink.ca().display().to_string();
    let keys = [
        ("SMTP__HOST", "localhost"),
        ("SMTP__TLS", "starttls"),
        ("SMTP__CA", &ca),
        ("SMTP__USERNAME", "natter"),
        ("SMTP__PASSWORD", "battery staple"),
    ];
    let mut mail = Running::over(&sink, &keys).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.wait_for_log("cannot send letters at all").await;
    assert!(mail.log().contains("(535)") && !mail.log().contains("battery staple"), "{}", mail.log());
    mail.stop().await;
    assert_eq!((mail.count("MAIL").await, mail.count("MAIL_DEAD").await), (1, 0));

    mail.set("SMTP__PASSWORD", "correct horse");
    mail.start_again().await;
    assert_eq!(sink.wait_for(1).await[0].subject(), "012345 is your Natter code");
}

#[tokio::test]
async fn a_login_that_is_missing_kills_no_letter() {
    let sink = Sink::start().await;
    sink.fail(Stage::Mail, Fault::Answer("530 5.7.0 authentication required"), 1);
    sink.fail(Stage::Rcpt, Fault::Answer("530 5.7.0 authentication required"), 1);
    let mail = Running::over(&sink, &[]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    sink.wait_for(1).await;
    assert_eq!(mail.count("MAIL_DEAD").await, 0);
}

#[tokio::test]
async fn a_code_that_has_expired_is_not_sent() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[]).await;
    let mut late = otp("anna@example.org", "012345");
    late.expires_at = Some(Time::from_millis(Time::now().as_millis() - 1));
    mail.ask(&late, "otp-1").await;
    mail.ask(&otp("ben@example.org", "678901"), "otp-2").await;
    mail.wait_until_empty().await;
    assert_eq!(
        sink.wait_for(1).await.iter().map(|letter| letter.to[0].as_str()).collect::<Vec<_>>(),
        ["ben@example.org"]
    );
    assert_eq!(mail.count("MAIL_DEAD").await, 0);
    assert!(mail.log().contains("expired"));
}

#[tokio::test]
async fn a_kill_in_mid_letter_loses_nothing() {
    let sink = Sink::start().await;
    let mut mail = Running::over(&sink, &[("SMTP__TIMEOUT", "1s")]).await;
    sink.fail(Stage::Letter, Fault::Hang, 1);
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.ask(&notice("ben@example.org"), "notice-1").await;
    wait_until_reached(&sink, Stage::Letter, 1).await;
    mail.kill().await;
    mail.start_again().await;

    eventually("both letters", DEADLINE, async || {
        let letters = sink.letters();
        let there = |to: &str| letters.iter().any(|letter| letter.to == [to]);
        (there("anna@example.org") && there("ben@example.org")).then_some(())
    })
    .await;
    mail.wait_until_empty().await;
}

#[tokio::test]
async fn a_letter_that_is_taken_while_we_stop_is_finished_and_not_sent_again() {
    let sink = Sink::start().await;
    let mut mail = Running::over(&sink, &[]).await;
    sink.fail(Stage::Letter, Fault::Hang, 1);
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    wait_until_reached(&sink, Stage::Letter, 1).await;
    mail.terminate();
    mail.wait_for_log("SIGTERM").await;
    sink.heal();
    assert!(mail.ended().await, "{}", mail.log());
    assert_eq!(sink.letters().len(), 1);
    mail.wait_until_empty().await;
}

#[tokio::test]
async fn letters_that_were_acknowledged_survive_a_kill_of_nats() {
    let mut sink = Sink::start().await;
    sink.stop().await;
    // What was in flight comes again after three times the timeout.
    let mut mail = Running::over(&sink, &[("SMTP__TIMEOUT", "1s")]).await;
    mail.ask(&notice("anna@example.org"), "notice-1").await;
    mail.wait_for_log("cannot send letters at all").await;
    mail.nats.kill().await;
    mail.nats.start_again().await;
    sink.start_again().await;
    assert_eq!(sink.wait_for(1).await[0].to, ["anna@example.org"]);
    mail.wait_until_empty().await;
}
