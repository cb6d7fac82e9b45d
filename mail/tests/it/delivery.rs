//! Letters arrive: once, as they should look, in time.

use std::time::Instant;

use testkit::smtp::{Options, Sink, Stage, Tls};

use crate::running::{Running, notice, otp};

#[tokio::test]
async fn a_code_arrives_as_a_letter_that_reads_well() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;

    let letter = &sink.wait_for(1).await[0];
    assert_eq!(
        (letter.from.as_str(), letter.to.as_slice()),
        ("natter@example.org", &["anna@example.org".to_owned()][..])
    );
    assert_eq!(letter.subject(), "012345 is your Natter code");
    assert_eq!(letter.header("From"), "Natter <natter@example.org>");
    assert_eq!(letter.header("To"), "anna@example.org");
    assert_eq!(letter.header("Message-ID"), "<otp-1@example.org>");
    assert!(letter.header("Content-Type").starts_with("multipart/alternative"));
    assert!(letter.text().contains("Hello Anna <&> \"Co\",") && letter.text().contains("012345"), "{}", letter.text());
    assert!(letter.html().contains("Anna &#60;&#38;&#62; &#34;Co&#34;,"), "{}", letter.html());
    assert!(letter.html().contains("012345") && !letter.html().contains("<&>"));

    mail.wait_until_empty().await;
    assert!(!mail.log().contains("012345"), "a code does not show in the log: {}", mail.log());
}

#[tokio::test]
async fn a_person_without_a_name_is_greeted_without_one() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[]).await;
    mail.ask(&notice("anna@example.org"), "notice-1").await;
    let letter = &sink.wait_for(1).await[0];
    assert_eq!(letter.subject(), "You already have a Natter account");
    assert!(letter.text().starts_with("Hello,\n"), "{}", letter.text());
}

async fn over_tls(tls: Tls, key: &str) {
    let login = Some(("natter".to_owned(), "correct horse".to_owned()));
    let sink = Sink::with(Options { tls, login }).await;
    let ca = sink.ca().display().to_string();
    let keys = [
        ("SMTP__HOST", "localhost"),
        ("SMTP__TLS", key),
        ("SMTP__CA", &ca),
        ("SMTP__USERNAME", "natter"),
        ("SMTP__PASSWORD", "correct horse"),
    ];
    let mail = Running::over(&sink, &keys).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    assert_eq!(sink.wait_for(1).await[0].subject(), "012345 is your Natter code");
    assert_eq!(sink.reached(Stage::Auth), 1);
}

#[tokio::test]
async fn over_starttls_with_a_login() {
    over_tls(Tls::StartTls, "starttls").await;
}

#[tokio::test]
async fn over_implicit_tls_with_a_login() {
    over_tls(Tls::Implicit, "tls").await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_no_letter() {
    let sink = Sink::with(Options { tls: Tls::StartTls, login: None }).await;
    let mail = Running::over(&sink, &[("SMTP__HOST", "localhost"), ("SMTP__TLS", "starttls")]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.wait_for_log("cannot send letters at all").await;
    assert!(sink.letters().is_empty() && sink.reached(Stage::Mail) == 0);
    assert_eq!(mail.count("MAIL").await, 1);
}

#[tokio::test]
async fn no_letter_goes_out_in_clear_where_starttls_is_not_offered() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[("SMTP__TLS", "starttls")]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.wait_for_log("cannot send letters at all").await;
    assert!(sink.letters().is_empty() && sink.reached(Stage::Mail) == 0);
}

#[tokio::test]
async fn a_letter_asked_for_twice_is_sent_once() {
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[]).await;
    for _ in 0..3 {
        mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    }
    mail.ask(&otp("anna@example.org", "678901"), "otp-2").await;
    mail.wait_until_empty().await;
    let mut subjects: Vec<_> = sink.letters().iter().map(testkit::smtp::Mail::subject).collect();
    subjects.sort();
    assert_eq!(subjects, ["012345 is your Natter code", "678901 is your Natter code"]);
}

#[tokio::test]
async fn ten_thousand_queued_notices_do_not_delay_a_code() {
    let sink = Sink::start().await;
    let mut mail = Running::over(&sink, &[]).await;
    mail.stop().await;
    for some in 0..50 {
        let asks = (0..200).map(|n| {
            let mail = &mail;
            async move { mail.ask(&notice(&format!("u{some}-{n}@example.org")), &format!("notice-{some}-{n}")).await }
        });
        futures::future::join_all(asks).await;
    }
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.start_again().await;

    let started = Instant::now();
    let letters = sink.wait_for(5_001).await;
    println!("{:.0} letters per second", 5_000.0 / started.elapsed().as_secs_f64());
    let place = letters.iter().position(|letter| letter.to == ["anna@example.org"]).unwrap();
    assert!(place < 100, "the code came after {place} notices");
    assert!(sink.connections() < 100, "{} connections for {} letters", sink.connections(), letters.len());
}
