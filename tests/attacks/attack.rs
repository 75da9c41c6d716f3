//! One attack: bytes for a fresh connection, and what has to come back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::raw::RawAnswer;

/// How long an answer may take; beyond this it is a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// What has to come back before the server ends the connection.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// One refusal in the contract's form: status and code.
    Refused(u16, &'static str),
    /// What is no HTTP request is refused before it is routed: the status and no more, and the connection ends.
    NoRequest(u16),
    /// These statuses in this order: so many requests were seen, and no more.
    Statuses(&'static [u16]),
    /// The body is cut or breaks its own framing: the connection ends, and if an answer comes before that, it says so.
    Broken,
}

impl Expected {
    /// Answers that come while the client still listens.
    fn answers(&self) -> usize {
        match self {
            Self::Refused(..) | Self::NoRequest(_) => 1,
            Self::Statuses(statuses) => statuses.len(),
            Self::Broken => 0,
        }
    }
}

/// Bytes and what they get.
#[derive(Clone)]
pub(crate) struct Attack {
    pub(crate) name: String,
    request: Vec<u8>,
    expected: Expected,
}

/// An attack that is written down as it is sent.
pub(crate) fn attack(name: &str, request: impl Into<Vec<u8>>, expected: Expected) -> Attack {
    Attack {
        name: name.to_owned(),
        request: request.into(),
        expected,
    }
}

/// An upload of this body as part 9 of the session, as the client says in `headers` what it is.
pub(crate) fn upload(
    name: &str,
    session: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    expected: Expected,
) -> Attack {
    let mut request = format!(
        "PUT /v1/upload/{session}?part=9 HTTP/1.1\r\nhost: calve\r\nauthorization: Bearer a-token\r\ncontent-length: {}\r\n",
        body.len()
    )
    .into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    attack(name, request, expected)
}

impl Attack {
    /// Sends it and says what is wrong with what came back.
    pub(crate) fn run(&self, base_url: &str) -> Result<(), String> {
        let answers = converse(base_url, &self.request, self.expected.answers())?;
        let told = || format!("expected {:?}, got {answers:#?}", self.expected);
        let fits = match self.expected {
            Expected::Refused(status, code) => {
                answers.len() == 1
                    && answers[0].status == status
                    && refusal_of(&answers[0])?["code"] == code
            }
            Expected::NoRequest(status) => {
                answers.len() == 1 && answers[0].status == status && answers[0].body.is_empty()
            }
            Expected::Statuses(expected) => {
                for answer in answers.iter().filter(|answer| answer.status >= 400) {
                    if !is_no_request(answer) {
                        refusal_of(answer)?;
                    }
                }
                let found: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
                found == expected
            }
            Expected::Broken => match &answers[..] {
                [] => true,
                [answer] => {
                    answer.status == 400 && refusal_of(answer)?["code"] == "body_incomplete"
                }
                _ => false,
            },
        };
        if fits { Ok(()) } else { Err(told()) }
    }
}

/// Whether this is the answer to what is no HTTP request.
fn is_no_request(answer: &RawAnswer) -> bool {
    [400, 431].contains(&answer.status) && answer.body.is_empty()
}

/// The body of a refusal in the contract's form.
fn refusal_of(answer: &RawAnswer) -> Result<Value, String> {
    let body: Value = serde_json::from_str(&answer.body)
        .map_err(|error| format!("no JSON body ({error}): {answer:?}"))?;
    let has_text = |key: &str| body[key].as_str().is_some_and(|text| !text.is_empty());
    let has_detail = has_text("detail") || body["detail"].is_array();
    if has_detail && has_text("code") && has_text("request_id") {
        Ok(body)
    } else {
        Err(format!("not the form of a refusal: {body}"))
    }
}

/// Sends the bytes, waits for so many answers, ends what is sent, and reads what else comes up to the end of the connection.
pub(crate) fn converse(
    base_url: &str,
    request: &[u8],
    expected_answers: usize,
) -> Result<Vec<RawAnswer>, String> {
    let address = base_url.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(address).expect("connect to the server");
    let limit = Some(PATIENCE);
    stream.set_read_timeout(limit).expect("set a time limit");
    stream.set_write_timeout(limit).expect("set a time limit");
    let mut sending = stream.try_clone().expect("a second handle");
    let received = thread::scope(|scope| {
        let sent = scope.spawn(move || {
            // A server that has seen enough ends the connection while this is still being sent.
            let _refused = sending.write_all(request);
        });
        let mut sent = Some(sent);
        let mut received = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            if answers_in(&received)?.0.len() >= expected_answers
                && let Some(sent) = sent.take()
            {
                sent.join().expect("the sending thread");
                let _ended = stream.shutdown(Shutdown::Write);
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(received),
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(received);
                }
                Err(error) => {
                    return Err(format!(
                        "the connection hangs ({error}) after {:?}",
                        String::from_utf8_lossy(&received)
                    ));
                }
            }
        }
    })?;
    match answers_in(&received)? {
        (answers, []) => Ok(answers),
        (_, rest) => Err(format!(
            "no whole answer: {:?}",
            String::from_utf8_lossy(rest)
        )),
    }
}

/// The answers in what was received, and what is left behind the last whole one.
fn answers_in(received: &[u8]) -> Result<(Vec<RawAnswer>, &[u8]), String> {
    let mut answers = Vec::new();
    let mut rest = received;
    while let Some((answer, length)) = first_answer(rest)? {
        rest = &rest[length..];
        if answer.status >= 500 {
            return Err(format!("{answer:?}"));
        }
        if answer.status != 100 {
            answers.push(answer);
        }
    }
    Ok((answers, rest))
}

fn first_answer(received: &[u8]) -> Result<Option<(RawAnswer, usize)>, String> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let no_head = || format!("no head of an answer: {head}");
    let status = head.strip_prefix("http/1.").and_then(|line| line.get(2..5));
    let status = status
        .and_then(|word| word.parse().ok())
        .ok_or_else(no_head)?;
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Ok(0), |text| text.trim().parse().map_err(|_| no_head()))?;
    let all = end + 4 + length;
    Ok(received.get(end + 4..all).map(|body| {
        let body = String::from_utf8_lossy(body).into_owned();
        (RawAnswer { status, head, body }, all)
    }))
}
