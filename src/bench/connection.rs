//! One keep-alive HTTP/1.1 connection: a request out, its answer back. No redirects, no proxies, no TLS, no chunked answers.
//!
//! It is not a general client on purpose: heads are made once, bodies are sent from where they lie, and the answer is parsed by
//! `httparse`. What it costs is taken from the server it measures.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const HEADERS_MAX: usize = 64;
const ANSWER_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 8 << 10;
/// A server that takes longer for one request is stuck, for this purpose.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the server closes the connection after it.
    pub is_last: bool,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(READ_BYTES),
        })
    }

    /// Sends a request and waits for its answer, for a minute at most.
    pub async fn exchange(&mut self, head: &[u8], body: &[u8]) -> io::Result<Answer> {
        let exchanged = timeout(EXCHANGE_TIMEOUT, async {
            // An answer may come before all is sent, and the server may then stop reading.
            let sent = self.stream.write_all_buf(&mut Buf::chain(head, body)).await;
            self.answer()
                .await
                .map_err(|error| sent.err().unwrap_or(error))
        });
        exchanged
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        self.received.clear();
        loop {
            if let Some(answer) = parse(&self.received)? {
                return Ok(answer);
            }
            self.received.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The answer that these bytes are, or `None` while some of it is missing.
fn parse(received: &[u8]) -> io::Result<Option<Answer>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(received)
        .map_err(|error| invalid(&error.to_string()))?;
    let (httparse::Status::Complete(head), Some(status)) = (parsed, response.code) else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = match header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if length <= ANSWER_BYTES_MAX => length,
        None if status == 204 => 0,
        _ => return Err(invalid("an answer without a usable Content-Length")),
    };
    let body = &received[head..];
    if body.len() < length {
        return Ok(None);
    }
    let is_last = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Answer {
        status,
        body: body[..length].to_vec(),
        is_last,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_complete_or_awaited_or_refused() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]).unwrap(), None, "{end} bytes");
        }
        let answer = Answer {
            status: 201,
            body: b"{}".to_vec(),
            is_last: true,
        };
        assert_eq!(parse(whole).unwrap(), Some(answer));
        let empty = parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(
            (empty.status, empty.body.len(), empty.is_last),
            (204, 0, false)
        );
        let refused: [&[u8]; 3] = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"220 smtp ready\r\n\r\n",
        ];
        for bytes in refused {
            assert!(parse(bytes).is_err());
        }
    }
}
