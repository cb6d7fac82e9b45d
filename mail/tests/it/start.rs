//! A configuration that cannot be used is refused in a sentence that names the keys; `preview` shows every letter.

use std::process::{Command, Output};

use testkit::{scratch, smtp::Mail};

fn mail(keys: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mail"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATTER_")) {
        command.env_remove(name);
    }
    command.env("NATTER_LINKS__KEY", "k".repeat(32));
    command.env("NATTER_NATS__PASSWORD", "n0").env("NATTER_NATS__URL", "nats://127.0.0.1:1");
    command.envs(keys.iter().map(|(key, value)| (format!("NATTER_MAIL__{key}"), value))).output().unwrap()
}

#[test]
fn a_start_without_a_way_to_send_is_refused() {
    for (keys, named) in [
        (&[][..], ["NATTER_MAIL__SMTP__HOST", "NATTER_MAIL__FILES"]),
        (&[("SMTP__HOST", "localhost")], ["NATTER_MAIL__FROM", "from"]),
        (&[("FILES", "/tmp/x"), ("FROM", "nobody")], ["NATTER_MAIL__FROM", "nobody"]),
        (&[("FILES", "/tmp/x"), ("RETRY__FIRST", "7")], ["NATTER_MAIL__RETRY__FIRST", "unit"]),
        (&[("FILES", "/tmp/x"), ("SMTP__TLS", "ssl")], ["NATTER_MAIL__SMTP__TLS", "starttls"]),
        (
            &[("SMTP__HOST", "localhost"), ("FROM", "a@b.c"), ("SMTP__USERNAME", "u"), ("SMTP__PASSWORD", "0042")],
            ["NATTER_MAIL__SMTP__PASSWORD", "quotes"],
        ),
    ] {
        let output = mail(keys);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(named.iter().all(|named| error.contains(named)), "{keys:?}: {error}");
        assert!(!error.contains("42"), "{error}");
    }
}

#[test]
fn a_file_of_certificates_that_cannot_be_read_is_refused() {
    let output = mail(&[("SMTP__HOST", "localhost"), ("FROM", "a@b.c"), ("SMTP__CA", "/nowhere/ca.pem")]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("NATTER_MAIL__SMTP__CA"), "{error}");
}

#[test]
fn preview_writes_every_letter() {
    let folder = scratch::Folder::new("preview").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mail")).arg("preview").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let kinds = ["otp", "already_registered", "password_reset", "new_sign_in", "digest", "alert"];
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3 * kinds.len(), "a kind that this test forgets");
    for kind in kinds {
        let letter = Mail::parse(std::fs::read(folder.path().join(format!("{kind}.eml"))).unwrap());
        assert!(!letter.subject().is_empty());
        // Both parts are there, and no template is left unfilled.
        assert!(letter.text().contains("Anna") && letter.html().contains("Anna") && !letter.raw().contains("{{"));
    }
}
