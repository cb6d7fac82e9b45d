//! As much of HTTP/1.1 (RFC 9112) as a push service of a test needs.

use std::io::{Error, Result};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};

/// Bytes of a message that every push service takes (RFC 8030, section 7.2); more is a bug of ours.
const MOST: usize = 64 * 1_024;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }
}

pub(super) struct Connection<S> {
    stream: BufStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufStream::new(stream) }
    }

    /// The next one; `None` where the client has hung up.
    pub(super) async fn request(&mut self) -> Result<Option<Request>> {
        let first = self.line().await?;
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let mut request = Request { method, path, body: Vec::new(), headers: Vec::new() };
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            request.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = request.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if length > MOST {
            return Err(Error::other("a body that no push service takes"));
        }
        request.body = vec![0; length];
        self.stream.read_exact(&mut request.body).await?;
        Ok(Some(request))
    }

    pub(super) async fn answer(&mut self, status: u16, headers: &[(&'static str, String)]) -> Result<()> {
        self.stream.write_all(format!("HTTP/1.1 {status} Answer\r\n").as_bytes()).await?;
        for (name, value) in headers {
            self.stream.write_all(format!("{name}: {value}\r\n").as_bytes()).await?;
        }
        self.stream.write_all(b"Content-Length: 0\r\n\r\n").await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }
}
