//! Letters as files: how one signs up without a mail server.

use std::path::Path;

use testkit::{
    eventually, scratch,
    smtp::{Mail, Sink},
};

use crate::running::{DEADLINE, Running, otp};

#[tokio::test]
async fn letters_are_written_and_their_subjects_logged() {
    let folder = scratch::Folder::new("letters").unwrap();
    let letters = folder.path().join("made").join("by the service");
    let mail = Running::with(&[("FILES", letters.to_str().unwrap())]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.ask(&otp("ben@example.org", "678901"), "../../x").await;
    mail.wait_until_empty().await;

    // Both may be of the same millisecond, so which name sorts first says nothing.
    let names = letters.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (annas, others): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with("Z-otp-1.eml"));
    assert_eq!((annas.len(), others.len()), (1, 1), "{annas:?} {others:?}");
    // The other one's id was no file name.
    assert!(
        Path::new(&others[0]).extension().is_some_and(|extension| extension == "eml") && !others[0].contains('x'),
        "{others:?}"
    );
    let letter = Mail::parse(std::fs::read(letters.join(&annas[0])).unwrap());
    assert_eq!(letter.subject(), "012345 is your Natter code");
    assert_eq!(letter.header("To"), "anna@example.org");
    assert!(mail.log().contains("letter for anna@example.org: \"012345 is your Natter code\""), "{}", mail.log());
}

#[tokio::test]
async fn a_mail_server_wins_over_files() {
    let folder = scratch::Folder::new("letters").unwrap();
    let sink = Sink::start().await;
    let mail = Running::over(&sink, &[("FILES", folder.path().to_str().unwrap())]).await;
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    sink.wait_for(1).await;
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_into_loses_nothing() {
    let folder = scratch::Folder::new("letters").unwrap();
    let letters = folder.path().join("letters");
    let mail = Running::with(&[("FILES", letters.to_str().unwrap())]).await;
    std::fs::remove_dir(&letters).unwrap();
    mail.ask(&otp("anna@example.org", "012345"), "otp-1").await;
    mail.wait_for_log("cannot send letters at all").await;
    std::fs::create_dir(&letters).unwrap();
    let there = async || (letters.read_dir().ok()?.count() == 1).then_some(());
    eventually("the letter", DEADLINE, there).await;
}
