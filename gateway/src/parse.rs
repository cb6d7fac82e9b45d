//! From a client's JSON to the contract's types, for REST and sockets alike; what does not fit names its field.

use contract::{Code, Refusal};
use serde::de::{DeserializeOwned, IgnoredAny};

/// Why a client's JSON cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is no JSON.
    Malformed(Refusal),
    /// It is, but not of this shape or within these limits.
    Invalid(Refusal),
}

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Malformed(refusal) | Unfit::Invalid(refusal) => refusal,
        }
    }
}

/// Reads `json`; unknown fields are ignored.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Unfit> {
    // serde would take an array for a struct, field by field.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(checked(json, Refusal::field("", "must be an object, not an array")));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(json);
    match serde_path_to_error::deserialize(&mut *deserializer) {
        Ok(value) => match deserializer.end() {
            Ok(()) => Ok(value),
            Err(_) => Err(malformed("more than one value")),
        },
        Err(error) if error.inner().is_data() => {
            let message = error.inner().to_string();
            // serde_json appends " at line 1 column 7", which helps nobody who sends one line.
            let message = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
            let field = field(&error.path().to_string(), message);
            Err(checked(json, Refusal::field(field, plain(message))))
        }
        // A value where the name of a variant belongs is a syntax error to serde_json, but it is JSON.
        Err(error) => {
            let message = "has the wrong type";
            Err(checked(json, Refusal::field(field(&error.path().to_string(), message), message)))
        }
    }
}

/// serde's words in those of somebody who does not know Rust.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "u64" | "u32" | "usize" => "a whole number that is not negative",
        "i64" | "i32" => "a whole number",
        expected if expected.starts_with("struct ") || expected == "a map" => "an object",
        expected => expected,
    };
    format!("{found}, expected {expected}")
}

/// What does not fit may also be broken further on: that comes first.
fn checked(json: &[u8], refusal: Refusal) -> Unfit {
    match serde_json::from_slice::<IgnoredAny>(json) {
        Ok(IgnoredAny) => Unfit::Invalid(refusal),
        Err(error) => malformed(&error.to_string()),
    }
}

fn malformed(why: &str) -> Unfit {
    Unfit::Malformed(Refusal::new(Code::Invalid, format!("This is not JSON: {why}.")))
}

/// The path of what is wrong. A field that is missing has none of its own yet, only its parent has.
fn field(path: &str, message: &str) -> String {
    let parent = if path == "." { "" } else { path };
    let named = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("duplicate field `"));
    match named.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) if parent.is_empty() => name.to_owned(),
        Some((name, _)) if parent != name && !parent.ends_with(&format!(".{name}")) => format!("{parent}.{name}"),
        _ => parent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use contract::{
        chat::{NewChat, NewMessage},
        event::MemberRole,
        user::Register,
    };

    use super::*;

    #[test]
    fn a_value_of_the_wrong_type_where_a_name_belongs_is_still_json() {
        #[derive(Debug, serde::Deserialize)]
        struct Role {
            #[expect(dead_code, reason = "only read")]
            role: MemberRole,
        }
        for value in ["5", "null", r#"["member"]"#, "{}", "true", r#""king""#] {
            assert_eq!(field_of::<Role>(&format!(r#"{{"role": {value}}}"#)), "role", "{value}");
            let chat = parse::<NewChat>(format!(r#"{{"type": {value}}}"#).as_bytes()).unwrap_err();
            assert!(matches!(chat, Unfit::Invalid(_)), "{value}: {chat:?}");
        }
    }

    fn field_of<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        match parse::<T>(json.as_bytes()).unwrap_err() {
            Unfit::Invalid(refusal) => refusal.errors[0].field.clone(),
            Unfit::Malformed(refusal) => panic!("{refusal}"),
        }
    }

    #[test]
    fn what_does_not_fit_names_its_field() {
        let message = |change: &str| {
            format!(r#"{{"chatId":"0190163d-8694-739b-aea5-966c26f8ad91","clientId":"c","text":"t",{change}}}"#)
        };
        assert_eq!(field_of::<NewMessage>("{}"), "chatId");
        assert_eq!(field_of::<NewMessage>(&message(r#""mentions":["x"]"#)), "mentions[0]");
        assert_eq!(field_of::<NewMessage>(&message(r#""replyTo":-1"#)), "replyTo");
        assert_eq!(field_of::<NewMessage>(&message(r#""text":"twice""#)), "text");
        assert_eq!(field_of::<Register>(r#"{"email":["a@b.org"],"password":"12345678","name":"A"}"#), "email");
        assert_eq!(field_of::<Register>(r#"{"email":"a@b.org","password":"1234567","name":"A"}"#), "password");
        assert_eq!(field_of::<Register>(r#"["a@b.org","12345678","A"]"#), "");
        assert_eq!(field_of::<Register>("null"), "");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let broken: [&[u8]; 8] = [b"", b"{", b"{\"email\":}", b"{} {}", b"\0", b"[1", b"{\"email\":[1,", b"\xff\xfe"];
        for json in broken {
            assert!(matches!(parse::<Register>(json), Err(Unfit::Malformed(_))), "{}", json.escape_ascii());
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(parse::<serde_json::Value>(deep.as_bytes()), Err(Unfit::Malformed(_))));
    }
}
