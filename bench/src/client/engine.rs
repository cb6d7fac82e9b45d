//! A light Socket.IO client: one WebSocket and one task for each connection. It does not reconnect.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, Message, http::HeaderValue, protocol::WebSocketConfig},
};

use super::packet::{self, Packet};
use crate::refused::Refused;

/// From the TCP connection to the namespace.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);
/// tungstenite's default of 128 KiB is much for a thousand sockets with small messages.
const READ_BUFFER: usize = 16 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Sends on a connection; cheap to clone. When the last one is dropped the connection is closed.
#[derive(Debug, Clone)]
pub struct Sender(UnboundedSender<String>);

impl Sender {
    /// Queues a packet; the error is that the connection has ended.
    pub fn send(&self, packet: String) -> Result<()> {
        self.0.send(packet).context("the connection has ended")
    }
}

/// Connects to a gateway such as `http://127.0.0.1:8080`. `incoming` gets every event and acknowledgement and the time
/// at which it was read; its error ends the connection. The task ends with `Ok` where we closed, else with the reason.
pub async fn connect(
    gateway: &str,
    token: &str,
    incoming: impl FnMut(Packet<'_>, Instant) -> Result<()> + Send + 'static,
) -> Result<(Sender, JoinHandle<Result<()>>)> {
    let opened = timeout(CONNECT_DEADLINE, open(gateway, token)).await;
    let socket = opened.context("it takes too long").flatten().with_context(|| format!("a socket to {gateway}"))?;
    let (sender, outgoing) = unbounded_channel();
    Ok((Sender(sender), tokio::spawn(converse(socket, outgoing, incoming))))
}

async fn open(gateway: &str, token: &str) -> Result<Socket> {
    let host = gateway.strip_prefix("http://").context("a gateway is http://host:port, without TLS")?;
    let url = format!("ws://{host}/socket.io/?EIO=4&transport=websocket");
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let (mut socket, _) = connect_async_with_config(url, Some(config), true).await.map_err(at_the_door)?;
    ensure!(next(&mut socket, |packet| Ok(packet == Packet::Open)).await?, "it does not begin with the handshake");
    socket.send(packet::connect(token).into()).await?;
    let connected = |packet: Packet<'_>| match packet {
        Packet::Connected => Ok(true),
        Packet::Refused(why) => Err(refused(why).into()),
        _ => Ok(false),
    };
    while !next(&mut socket, connected).await? {}
    Ok(socket)
}

/// An upgrade may be refused as any HTTP request.
fn at_the_door(error: tungstenite::Error) -> Error {
    let tungstenite::Error::Http(answer) = error else { return error.into() };
    let retry_after = answer.headers().get("retry-after").map(HeaderValue::as_bytes);
    let body = answer.body().as_deref().unwrap_or_default();
    Refused::over_http(answer.status().as_u16(), retry_after, body).into()
}

/// `{message}`, which is the code.
fn refused(why: &str) -> Refused {
    #[derive(Deserialize)]
    struct Why<'a> {
        message: &'a str,
    }
    Refused::new(serde_json::from_str(why).map_or(why, |Why { message }| message), None)
}

/// Reads one packet for `see`, if the next frame is one that is for it.
async fn next(socket: &mut Socket, see: impl FnOnce(Packet<'_>) -> Result<bool>) -> Result<bool> {
    let Message::Text(text) = socket.next().await.context("the server has hung up")?? else { return Ok(false) };
    match Packet::decode(&text)? {
        // The first one comes before the namespace is open; unanswered, it ends the connection a while later.
        Packet::Ping => {
            socket.send(packet::PONG.into()).await?;
            Ok(false)
        }
        packet => see(packet),
    }
}

async fn converse(
    mut socket: Socket,
    mut outgoing: UnboundedReceiver<String>,
    mut incoming: impl FnMut(Packet<'_>, Instant) -> Result<()>,
) -> Result<()> {
    loop {
        tokio::select! {
            message = socket.next() => {
                let now = Instant::now();
                // WebSocket's own pings are answered by tungstenite.
                let Message::Text(text) = message.context("the server has hung up")?? else { continue };
                match Packet::decode(&text)? {
                    Packet::Ping => socket.send(packet::PONG.into()).await?,
                    Packet::Closed => bail!("the server has closed the connection"),
                    packet => incoming(packet, now)?,
                }
            }
            packet = outgoing.recv() => {
                let Some(packet) = packet else {
                    // Whether it still hears us is its own affair.
                    let _ = close(socket).await;
                    return Ok(());
                };
                socket.feed(packet.into()).await?;
                while let Ok(packet) = outgoing.try_recv() {
                    socket.feed(packet.into()).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

async fn close(mut socket: Socket) -> Result<()> {
    socket.send(packet::DISCONNECT.into()).await?;
    Ok(socket.close(None).await?)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    use super::*;

    /// A gateway that says and expects these in turn: `<` is what it says.
    async fn gateway(script: &'static [&'static str]) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            for line in script {
                match line.strip_prefix('<') {
                    Some(packet) => socket.send(packet.into()).await.unwrap(),
                    None => assert_eq!(socket.next().await.unwrap().unwrap(), (*line).into()),
                }
            }
        });
        (url, served)
    }

    #[tokio::test]
    async fn pings_are_answered_and_events_and_their_answers_passed_on() {
        let script: &[&str] = &[
            r#"<0{"sid":"a"}"#,
            r#"40{"token":"t"}"#,
            "<2",
            "3",
            r#"<40{"sid":"b"}"#,
            "<2",
            "3",
            r#"<42["b",2]"#,
            r#"427["a",1]"#,
            "<437[3]",
            "41",
        ];
        let (url, served) = gateway(script).await;
        let (passed_on, mut packets) = unbounded_channel();
        let incoming = move |packet: Packet<'_>, _| Ok(passed_on.send(format!("{packet:?}"))?);
        let (sender, connection) = connect(&url, "t", incoming).await.unwrap();
        assert_eq!(packets.recv().await.unwrap(), r#"Event { name: "b", args: "2]" }"#);
        sender.send(packet::event(7, "a", &1).unwrap()).unwrap();
        assert_eq!(packets.recv().await.unwrap(), r#"Ack { id: 7, args: "3]" }"#);
        drop(sender);
        connection.await.unwrap().unwrap();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn an_upgrade_that_is_refused_says_for_how_long() {
        use tokio::io::AsyncWriteExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
        tokio::spawn(async move { listener.accept().await.unwrap().0.write_all(answer.as_bytes()).await });
        let refused = connect(&url, "t", |_, _| Ok(())).await.unwrap_err();
        assert_eq!(refused.downcast_ref(), Some(&Refused::new("429", Some(3))), "{refused:#}");
    }

    #[tokio::test]
    async fn a_refused_token_and_a_server_that_leaves_are_errors() {
        let (url, _served) = gateway(&["<0{}", r#"40{"token":"t"}"#, r#"<44{"message":"unauthenticated"}"#]).await;
        let refused = connect(&url, "t", |_, _| Ok(())).await.unwrap_err();
        assert_eq!(refused.downcast_ref(), Some(&Refused::new("unauthenticated", None)), "{refused:#}");

        let (url, _served) = gateway(&["<0{}", r#"40{"token":"t"}"#, "<40{}", "<41"]).await;
        let (_sender, connection) = connect(&url, "t", |_, _| Ok(())).await.unwrap();
        let ended = connection.await.unwrap().unwrap_err();
        assert!(format!("{ended:#}").contains("the server has closed"), "{ended:#}");
    }
}
