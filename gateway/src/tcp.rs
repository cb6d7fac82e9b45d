//! TCP connections of clients, each of which can be cut from outside: a client that reads nothing cannot be told to go.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::extract::{ConnectInfo, Request};
use socket2::SockRef;
use socketioxide::{extract::SocketRef, socket::Sid};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// A session that was ended is refused for this long; by then its pings have not been answered either.
const REMEMBERED: Duration = Duration::from_mins(5);
/// Entries at which those of closed connections are looked for.
const TIDY_AT: usize = 1_024;

/// The port was not able to take a connection, usually for want of file descriptors: the next one waits this long.
const AGAIN: Duration = Duration::from_millis(100);

/// The public port.
pub struct Listener {
    tcp: TcpListener,
    /// One for each connection that there is room for; beyond, clients wait until there is.
    room: Arc<Semaphore>,
}

/// A client's connection.
pub struct Stream {
    tcp: Arc<TcpStream>,
    _room: OwnedSemaphorePermit,
}

/// The other end of a connection: what a request knows of it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub addr: SocketAddr,
    tcp: Weak<TcpStream>,
}

impl Listener {
    /// A port for at most so many connections at a time.
    pub async fn bind(addr: SocketAddr, connections: usize) -> io::Result<Self> {
        let room = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { tcp: TcpListener::bind(addr).await?, room })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next connection.
    pub async fn accept(&self) -> (Stream, Peer) {
        loop {
            // The semaphore is never closed.
            let Ok(room) = self.room.clone().acquire_owned().await else { return std::future::pending().await };
            match self.tcp.accept().await {
                Ok((tcp, addr)) => {
                    // Events are small and should not wait for each other.
                    if let Err(error) = tcp.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    let tcp = Arc::new(tcp);
                    let peer = Peer { addr, tcp: Arc::downgrade(&tcp) };
                    return (Stream { tcp, _room: room }, peer);
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Whether it went away before it was let in.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            match self.tcp.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Stream {
    fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match write(&self.tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |tcp| tcp.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |tcp| tcp.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.tcp).shutdown(Shutdown::Write))
    }
}

/// How the sessions of Socket.IO come in, so that one can be ended which does not listen; cheap to clone.
#[derive(Clone, Default)]
pub struct Wires(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Of WebSockets that began as polling: their session only knows its first request.
    upgraded: HashMap<Sid, Weak<TcpStream>>,
    /// Sessions that were cut while polling, and since when.
    ended: HashMap<Sid, Instant>,
}

impl Wires {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a request, `/socket.io/?transport=websocket&sid=...`. False where its session has been ended.
    pub fn admit(&self, request: &Request) -> bool {
        let query = request.uri().query().unwrap_or_default();
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let sid = value("sid").filter(|_| request.uri().path().starts_with(crate::socket::PATH));
        let Some(sid) = sid.and_then(|sid| sid.parse().ok()) else { return true };
        let mut inner = self.inner();
        if value("transport") == Some("websocket")
            && let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>()
        {
            if inner.upgraded.len() >= TIDY_AT && inner.upgraded.len() == inner.upgraded.capacity() {
                inner.upgraded.retain(|_, tcp| tcp.strong_count() > 0);
            }
            inner.upgraded.insert(sid, peer.tcp.clone());
        }
        !inner.ended.contains_key(&sid)
    }

    /// Ends a session at once, whatever is on its way to the client: a WebSocket's connection is closed, further requests
    /// of one that polls are refused as if it did not exist.
    pub fn cut(&self, socket: &SocketRef) {
        let mut inner = self.inner();
        let upgraded = inner.upgraded.get(&socket.id).cloned();
        let first = || {
            let websocket = socket.transport_type() == socketioxide::TransportType::Websocket;
            let peer = socket.req_parts().extensions.get::<ConnectInfo<Peer>>().filter(|_| websocket)?;
            Some(peer.0.tcp.clone())
        };
        let tcp = upgraded.or_else(first).and_then(|tcp| tcp.upgrade());
        if tcp.is_none_or(|tcp| SockRef::from(&*tcp).shutdown(Shutdown::Both).is_err()) {
            inner.ended.retain(|_, since| since.elapsed() < REMEMBERED);
            inner.ended.insert(socket.id, Instant::now());
        }
    }
}
