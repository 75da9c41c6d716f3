//! One HTTP exchange written by hand on a socket: for requests that stop half-way, that never end, or whose answer comes
//! before the body was sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;

/// A connection on which one request is being written.
pub struct RawRequest {
    stream: TcpStream,
}

/// Status, head and body as they came.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl RawAnswer {
    /// The body as a JSON object.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("the body is no JSON ({error}): {self:?}"))
    }
}

impl RawRequest {
    /// Connects and writes the head; `headers` must say how long the body is or that it is chunked.
    #[track_caller]
    pub fn start(base_url: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let address = base_url.strip_prefix("http://").expect("an http URL");
        let mut stream = TcpStream::connect(address).expect("connect to the server");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("set a time limit");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("set a time limit");
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer a-token\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream
            .write_all(head.as_bytes())
            .expect("write the head of the request");
        Self { stream }
    }

    /// Waits for the `100 Continue` that a request with `expect: 100-continue` gets.
    #[track_caller]
    pub fn await_continue(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream
                .read_exact(&mut byte)
                .expect("read the interim answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(
            head.starts_with("HTTP/1.1 100"),
            "expected 100 Continue, got {head}"
        );
    }

    /// Writes a piece of the body as it is.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("write the body of the request");
    }

    /// Writes one chunk of a chunked body.
    #[track_caller]
    pub fn write_chunk(&mut self, bytes: &[u8]) {
        self.write(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.write(bytes);
        self.write(b"\r\n");
    }

    /// Ends what is sent, and goes on listening.
    #[track_caller]
    pub fn end_writing(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("end the request");
    }

    /// Sends a byte of a chunked body whenever `pause` passes without an answer, until there is one.
    #[track_caller]
    pub fn trickle(mut self, pause: Duration) -> RawAnswer {
        self.stream
            .set_read_timeout(Some(pause))
            .expect("set a time limit");
        let started = Instant::now();
        while let Err(error) = self.stream.peek(&mut [0]) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            assert!(started.elapsed() < PATIENCE, "nobody minds the trickle");
            self.write_chunk(b"x");
        }
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("set a time limit");
        self.read_answer()
    }

    /// Reads the answer up to the end that its head promises.
    #[track_caller]
    pub fn read_answer(mut self) -> RawAnswer {
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        let head_end = loop {
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let count = self
                .stream
                .read(&mut buffer)
                .expect("read the head of the answer");
            assert!(
                count > 0,
                "the connection ended inside the head: {}",
                String::from_utf8_lossy(&received)
            );
            received.extend_from_slice(&buffer[..count]);
        };
        let head = String::from_utf8_lossy(&received[..head_end]).to_ascii_lowercase();
        let body_bytes: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .unwrap_or_else(|| panic!("no content-length in the answer: {head}"))
            .trim()
            .parse()
            .expect("a number of bytes");
        let mut body = received.split_off(head_end + 4);
        while body.len() < body_bytes {
            let count = self
                .stream
                .read(&mut buffer)
                .expect("read the body of the answer");
            assert!(
                count > 0,
                "the connection ended inside the body: {}",
                String::from_utf8_lossy(&body)
            );
            body.extend_from_slice(&buffer[..count]);
        }
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in `{head}`"));
        RawAnswer {
            status,
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }
}
