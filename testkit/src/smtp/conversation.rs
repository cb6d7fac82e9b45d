//! One connection: the server's side of RFC 5321, as far as a client that sends letters needs it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream},
    net::TcpStream,
};

use super::{Fault, Mail, Shared, Stage, Tls};

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The conversation is over.
pub(super) struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

pub(super) async fn talk(stream: TcpStream, shared: Arc<Shared>) -> Result<(), Over> {
    let secure = shared.options.tls == Tls::Implicit;
    let stream: Box<dyn Stream> =
        if secure { Box::new(shared.acceptor.accept(stream).await?) } else { Box::new(stream) };
    let stream = BufStream::new(stream);
    let mut talk = Conversation { stream, shared, secure, known: false, from: String::new(), to: Vec::new() };
    talk.answer(Stage::Connect, "220 sink ESMTP").await?;
    loop {
        talk.next().await?;
    }
}

struct Conversation {
    stream: BufStream<Box<dyn Stream>>,
    shared: Arc<Shared>,
    secure: bool,
    known: bool,
    from: String,
    to: Vec<String>,
}

impl Conversation {
    async fn next(&mut self) -> Result<(), Over> {
        let line = self.line().await?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => {
                let hello = self.hello();
                self.say(&hello).await
            }
            "NOOP" | "RSET" => self.say("250 ok").await,
            "QUIT" => {
                self.say("221 bye").await?;
                Err(Over)
            }
            "STARTTLS" if self.shared.options.tls == Tls::StartTls && !self.secure => self.encrypt().await,
            "AUTH" => self.auth(rest).await,
            _ if self.shared.options.tls != Tls::None && !self.secure => self.say("530 5.7.0 STARTTLS first").await,
            _ if self.shared.options.login.is_some() && !self.known => self.say("530 5.7.0 AUTH first").await,
            "MAIL" => {
                self.from = address(rest);
                self.to.clear();
                self.answer(Stage::Mail, "250 ok").await.map(|_| ())
            }
            "RCPT" => {
                if self.answer(Stage::Rcpt, "250 ok").await? {
                    self.to.push(address(rest));
                }
                Ok(())
            }
            "DATA" => {
                if self.answer(Stage::Data, "354 go on").await? {
                    self.data().await?;
                }
                Ok(())
            }
            _ => self.say("500 5.5.1 what?").await,
        }
    }

    fn hello(&self) -> String {
        let mut lines = vec!["sink".to_owned(), "8BITMIME".to_owned()];
        if self.shared.options.tls == Tls::StartTls && !self.secure {
            lines.push("STARTTLS".to_owned());
        } else if self.shared.options.login.is_some() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len() - 1;
        let line = |(index, line): (usize, &String)| format!("250{}{line}", if index == last { ' ' } else { '-' });
        lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
    }

    async fn encrypt(&mut self) -> Result<(), Over> {
        self.say("220 go on").await?;
        let (nothing, _) = tokio::io::duplex(1);
        let plain = std::mem::replace(&mut self.stream, BufStream::new(Box::new(nothing)));
        self.stream = BufStream::new(Box::new(self.shared.acceptor.accept(plain.into_inner()).await?));
        self.secure = true;
        Ok(())
    }

    async fn auth(&mut self, rest: &str) -> Result<(), Over> {
        let decode =
            |text: &str| String::from_utf8(BASE64_STANDARD.decode(text.trim()).unwrap_or_default()).unwrap_or_default();
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let given = if mechanism.eq_ignore_ascii_case("PLAIN") {
            let initial = if initial.is_empty() { self.ask("").await? } else { initial.to_owned() };
            let plain = decode(&initial);
            let mut parts = plain.splitn(3, '\0').skip(1).map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        } else {
            let name = if initial.is_empty() { self.ask("Username:").await? } else { initial.to_owned() };
            let password = self.ask("Password:").await?;
            (decode(&name), decode(&password))
        };
        if self.shared.options.login.as_ref().is_some_and(|login| *login == given) {
            self.known = self.answer(Stage::Auth, "235 2.7.0 welcome").await?;
            Ok(())
        } else {
            self.answer(Stage::Auth, "535 5.7.8 wrong name or password").await.map(|_| ())
        }
    }

    async fn ask(&mut self, question: &str) -> Result<String, Over> {
        self.say(&format!("334 {}", BASE64_STANDARD.encode(question))).await?;
        self.line().await
    }

    async fn data(&mut self) -> Result<(), Over> {
        let mut raw = Vec::new();
        loop {
            let start = raw.len();
            if self.stream.read_until(b'\n', &mut raw).await? == 0 {
                return Err(Over);
            }
            if &raw[start..] == b".\r\n" {
                raw.truncate(start);
                break;
            }
            // Dot stuffing, RFC 5321, section 4.5.2.
            if raw[start..].starts_with(b"..") {
                raw.remove(start);
            }
        }
        let mail = Mail { from: self.from.clone(), to: std::mem::take(&mut self.to), raw };
        // It is kept before the client hears so, as a real server does: a client that is gone by then sends it again.
        if let Some(answer) = self.fault(Stage::Letter).await? {
            return self.say(answer).await;
        }
        self.shared.state().letters.push(mail);
        self.say("250 2.0.0 taken").await
    }

    /// Says `usual` unless a fault is due here; whether it did.
    async fn answer(&mut self, stage: Stage, usual: &str) -> Result<bool, Over> {
        let fault = self.fault(stage).await?;
        self.say(fault.unwrap_or(usual)).await?;
        Ok(fault.is_none())
    }

    /// The answer of a fault that is due here.
    async fn fault(&mut self, stage: Stage) -> Result<Option<&'static str>, Over> {
        // Before the look at the faults, so that a `heal` in between is not missed.
        let mut healed = self.shared.healed.subscribe();
        let fault = {
            let mut shared = self.shared.state();
            shared.reached.push(stage);
            let due = shared.faults.iter_mut().find(|(at, _, times)| *at == stage && *times > 0);
            due.map(|(_, fault, times)| {
                *times -= 1;
                fault.clone()
            })
        };
        match fault {
            None => Ok(None),
            Some(Fault::Answer(answer)) => Ok(Some(answer)),
            Some(Fault::Close) => Err(Over),
            Some(Fault::Hang) => {
                let _ = healed.changed().await;
                Ok(None)
            }
        }
    }

    async fn line(&mut self) -> Result<String, Over> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(Over);
        }
        Ok(line.trim_end().to_owned())
    }

    async fn say(&mut self, answer: &str) -> Result<(), Over> {
        self.stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// `FROM:<anna@example.org> BODY=8BITMIME` -> `anna@example.org`
fn address(argument: &str) -> String {
    argument.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(address, _)| address).to_owned()
}
