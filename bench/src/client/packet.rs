//! Packets of Socket.IO v5 (protocol revision 5) in those of Engine.IO v4, as text and in the namespace `/` only:
//! <https://socket.io/docs/v4/socket-io-protocol>, <https://socket.io/docs/v4/engine-io-protocol>.

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;

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
    /// `["name", argument, ...]`
    Event(&'a str),
    /// `[argument, ...]` for the event of this number.
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
            Some(('2', event)) => Ok(Self::Event(number(event).1)),
            Some(('3', ack)) => match number(ack) {
                (Some(id), args) => Ok(Self::Ack { id, args }),
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
            (r#"42["message:new",{"seq":1}]"#, Packet::Event(r#"["message:new",{"seq":1}]"#)),
            (r#"427["asks",{}]"#, Packet::Event(r#"["asks",{}]"#)),
            (r#"4312[{"ok":true}]"#, Packet::Ack { id: 12, args: r#"[{"ok":true}]"# }),
            (r#"44{"message":"unauthenticated"}"#, Packet::Refused(r#"{"message":"unauthenticated"}"#)),
        ];
        for (text, packet) in decoded {
            assert_eq!(Packet::decode(text).unwrap(), packet, "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        // Among them a pong, an upgrade, binary packets, and a number that fits nothing.
        for text in ["", "3", "5", "4", "45-[]", "46-[]", "43[]", "4399999999999999999999[]", "ä", "4ä", "hello"] {
            assert!(Packet::decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_client_sends_is_as_the_protocol_has_it() {
        assert_eq!(connect("a.b"), r#"40{"token":"a.b"}"#);
        let payload = json!({ "text": "\"ä\n" });
        assert_eq!(event(7, "message:send", &payload).unwrap(), r#"427["message:send",{"text":"\"ä\n"}]"#);
    }
}
