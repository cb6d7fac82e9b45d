//! Packets of Socket.IO v5 (protocol revision 5) in those of Engine.IO v4, as text and in the namespace `/` only:
//! <https://socket.io/docs/v4/socket-io-protocol>, <https://socket.io/docs/v4/engine-io-protocol>.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::refused::Refused;

/// The answer to a ping.
pub const PONG: &str = "3";
/// Good-bye to the namespace.
pub const DISCONNECT: &str = "41";

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Engine.IO's handshake.
    Open,
    /// To be answered by [`PONG`].
    Ping,
    /// The token was taken.
    Connected,
    /// It was not, or whatever else the JSON `{message}` says.
    Refused(&'a str),
    /// An event and its arguments, see [`first`].
    Event { name: &'a str, args: &'a str },
    /// The arguments for the event of this number, see [`first`].
    Ack { id: u64, args: &'a str },
    /// Nothing comes after this.
    Closed,
}

impl<'a> Packet<'a> {
    pub fn decode(text: &'a str) -> Result<Self> {
        let Some((kind, rest)) = split(text) else { bail!("an empty packet") };
        Ok(match (kind, rest) {
            ('0', _) => Self::Open,
            ('1', _) => Self::Closed,
            ('2', _) => Self::Ping,
            ('4', message) => return Self::decode_message(message),
            _ => bail!("not a packet for a client: {text}"),
        })
    }

    fn decode_message(text: &'a str) -> Result<Self> {
        match split(text) {
            Some(('0', _)) => Ok(Self::Connected),
            Some(('1', _)) => Ok(Self::Closed),
            Some(('2', event)) => {
                let (name, args) = named(number(event).1).with_context(|| format!("no event: {text}"))?;
                Ok(Self::Event { name, args })
            }
            Some(('3', ack)) => match number(ack) {
                (Some(id), args) => {
                    let args = args.strip_prefix('[').with_context(|| format!("no list: {text}"))?;
                    Ok(Self::Ack { id, args })
                }
                (None, _) => bail!("an acknowledgement of nothing: {text}"),
            },
            Some(('4', error)) => Ok(Self::Refused(error)),
            _ => bail!("not a message for a client: {text}"),
        }
    }
}

/// The packet that opens the namespace.
pub fn connect(token: &str) -> String {
    format!("40{}", json!({ "token": token }))
}

/// An event with one argument that is to be acknowledged under the number `ack`.
pub fn event(ack: u64, name: &str, payload: &impl Serialize) -> Result<String> {
    Ok(format!("42{ack}{}", serde_json::to_string(&(name, payload))?))
}

/// Reads the first of arguments and leaves the others, so that nothing is read twice and nothing copied.
pub fn first<'a, T: Deserialize<'a>>(args: &'a str) -> Result<T> {
    Ok(T::deserialize(&mut serde_json::Deserializer::from_str(args))?)
}

/// Reads the first argument and, if there is one, the second.
pub fn first_two<'a, A: Deserialize<'a>, B: Deserialize<'a>>(args: &'a str) -> Result<(A, Option<B>)> {
    let mut values = serde_json::Deserializer::from_str(args).into_iter();
    let first = values.next().context("no argument")??;
    let rest = args[values.byte_offset()..].trim_start();
    Ok((first, rest.strip_prefix(',').map(self::first).transpose()?))
}

/// What is read of the `error` in an acknowledgement.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nack<'a> {
    pub code: &'a str,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl From<Nack<'_>> for Refused {
    fn from(Nack { code, retry_after }: Nack<'_>) -> Self {
        Self::new(code, retry_after)
    }
}

/// The name and the arguments, without the brackets' opening one, of `["name",argument, ...]`. Names that need escapes
/// in JSON are none of ours.
fn named(event: &str) -> Option<(&str, &str)> {
    let (name, rest) = event.strip_prefix('[')?.trim_start().strip_prefix('"')?.split_once('"')?;
    let rest = rest.trim_start();
    (!name.contains('\\')).then_some((name, rest.strip_prefix(',').unwrap_or(rest)))
}

fn split(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    Some((chars.next()?, chars.as_str()))
}

/// The number a text may begin with, and what follows.
fn number(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (digits.parse().ok(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_is_understood() {
        let decoded = [
            (r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#, Packet::Open),
            ("1", Packet::Closed),
            ("2", Packet::Ping),
            (r#"40{"sid":"b"}"#, Packet::Connected),
            ("41", Packet::Closed),
            (r#"42["message:new",{"seq":1},{}]"#, Packet::Event { name: "message:new", args: r#"{"seq":1},{}]"# }),
            (r#"427["asks",{}]"#, Packet::Event { name: "asks", args: "{}]" }),
            (r#"42[ "alone" ]"#, Packet::Event { name: "alone", args: "]" }),
            (r#"4312[{"ok":true}]"#, Packet::Ack { id: 12, args: r#"{"ok":true}]"# }),
            (r#"44{"message":"unauthenticated"}"#, Packet::Refused(r#"{"message":"unauthenticated"}"#)),
        ];
        for (text, packet) in decoded {
            assert_eq!(Packet::decode(text).unwrap(), packet, "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        // Among them a pong, an upgrade, binary packets, and a number that fits nothing.
        for text in ["", "3", "5", "4", "45-[]", "46-[]", "42[]", "43[]", "437", "4399999999999999999999[]", "ä", "4ä"]
        {
            assert!(Packet::decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_argument_is_read_and_no_more() {
        assert_eq!(first::<(u8, &str)>(r#"[1,"a"],{"prev":2}]"#).unwrap(), (1, "a"));
        assert!(first::<u8>("]").is_err());
        assert_eq!(first_two::<&str, u8>(r#""a" , 2, 3]"#).unwrap(), ("a", Some(2)));
        assert_eq!(first_two::<&str, u8>(r#""a"]"#).unwrap(), ("a", None));
    }

    #[test]
    fn what_a_client_sends_is_as_the_protocol_has_it() {
        assert_eq!(connect("a.b"), r#"40{"token":"a.b"}"#);
        let payload = json!({ "text": "\"ä\n" });
        assert_eq!(event(7, "message:send", &payload).unwrap(), r#"427["message:send",{"text":"\"ä\n"}]"#);
    }
}
