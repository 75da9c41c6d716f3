//! Runs a workload against a server: clients, each one connection, that open sessions, put parts and commit.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection::{Answer, Connection};
use super::parts::{Recipe, TestPart};
use super::tally::{Latencies, Tally};

/// Clients at most.
const CLIENTS_MAX: usize = 10_000;
/// A client that gets no answer so often in a row gives up.
const UNANSWERED_MAX: u32 = 3;

/// What a server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Version 1 of the upload API.
    Uploads,
    /// `PUT` of a path makes a file: a session is an empty file, a part is a file, and there are no commits.
    Files,
}

/// The server to measure.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The value of `Host`.
    pub host: String,
    /// What it understands.
    pub dialect: Dialect,
    /// The value of `Authorization`, if there is one.
    pub authorization: Option<String>,
}

impl Peer {
    /// The server at `http://HOST[:PORT]`.
    pub fn at(url: &str, dialect: Dialect) -> Result<Self, String> {
        let host = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@']))
            .ok_or_else(|| format!("`{url}` must be like http://127.0.0.1:8080"))?;
        let has_port = host
            .rsplit(']')
            .next()
            .is_some_and(|rest| rest.contains(':'));
        let port = if has_port { "" } else { ":80" };
        let address = format!("{host}{port}")
            .to_socket_addrs()
            .map_err(|error| format!("`{host}`: {error}"))?
            .next()
            .ok_or_else(|| format!("`{host}` has no address"))?;
        Ok(Self {
            address,
            host: host.to_owned(),
            dialect,
            authorization: None,
        })
    }
}

/// What to send. A run ends when all sessions are done or the time is over, whichever comes first; a session that is under way then is
/// committed with the parts it has.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Connections, each with one session at a time.
    pub clients: usize,
    /// Sessions in all.
    pub sessions: u64,
    /// Parts of each.
    pub parts_per_session: u64,
    /// After this no new part is sent.
    pub duration: Duration,
    /// What the parts are.
    pub recipe: Recipe,
    /// Whether sessions are committed, as appends.
    pub commits: bool,
    /// Tables that the commits go to in turn.
    pub tables: u64,
    /// Threads that the clients are spread over.
    pub threads: usize,
}

/// What a run counted, and how long it took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The sum over all clients.
    pub tally: Tally,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Workload {
    /// The bodies to send; to be made before the clock starts.
    pub fn pool(&self) -> Result<Arc<[TestPart]>, String> {
        if self.clients == 0 || self.clients > CLIENTS_MAX || self.threads == 0 || self.tables == 0
        {
            return Err(format!(
                "clients must be 1 to {CLIENTS_MAX}, threads and tables at least 1"
            ));
        }
        self.recipe
            .pool(self.sessions.saturating_mul(self.parts_per_session))
    }

    /// The body of the part with this number of the session with this number.
    pub fn part<'a>(&self, pool: &'a [TestPart], session: u64, part: u64) -> Option<&'a TestPart> {
        let number = session
            .wrapping_mul(self.parts_per_session)
            .wrapping_add(part);
        pool.get(usize::try_from(number.checked_rem(pool.len() as u64)?).ok()?)
    }

    /// Runs it, with bodies that [`pool`](Self::pool) made.
    pub fn run(&self, peer: &Peer, pool: &Arc<[TestPart]>) -> Result<Outcome, String> {
        let started = Instant::now();
        let plan = Arc::new(Plan {
            workload: *self,
            peer: peer.clone(),
            pool: pool.clone(),
            next_session: AtomicU64::new(0),
            ends_at: started + self.duration,
        });
        let threads = self.threads.min(self.clients);
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let clients = self.clients / threads + usize::from(number < self.clients % threads);
                let plan = plan.clone();
                std::thread::spawn(move || run_clients(&plan, clients))
            })
            .collect();
        let mut tally = Tally::new()?;
        for thread in running {
            let counted = thread
                .join()
                .map_err(|_| "a client thread panicked".to_owned())?;
            tally.add(&counted?)?;
        }
        Ok(Outcome {
            tally,
            took: started.elapsed(),
        })
    }
}

/// What the clients of a run share.
struct Plan {
    workload: Workload,
    peer: Peer,
    pool: Arc<[TestPart]>,
    next_session: AtomicU64,
    ends_at: Instant,
}

impl Plan {
    fn is_over(&self) -> bool {
        Instant::now() >= self.ends_at
    }

    fn next_session(&self) -> Option<u64> {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        (number < self.workload.sessions && !self.is_over()).then_some(number)
    }
}

fn run_clients(plan: &Arc<Plan>, clients: usize) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let running: Vec<_> = (0..clients)
            .map(|_| tokio::spawn(Client::run(plan.clone())))
            .collect();
        let mut sum = Tally::new()?;
        for client in running {
            sum.add(&client.await.map_err(|error| error.to_string())??)?;
        }
        Ok(sum)
    })
}

/// One connection at work.
struct Client {
    plan: Arc<Plan>,
    connection: Option<Connection>,
    unanswered: u32,
    head: Vec<u8>,
    tally: Tally,
}

impl Client {
    async fn run(plan: Arc<Plan>) -> Result<Tally, String> {
        let mut client = Self {
            plan: plan.clone(),
            connection: None,
            unanswered: 0,
            head: Vec::new(),
            tally: Tally::new()?,
        };
        while client.unanswered < UNANSWERED_MAX
            && let Some(number) = plan.next_session()
        {
            client.session(number).await;
        }
        Ok(client.tally)
    }

    /// Opens a session, puts its parts, commits it.
    async fn session(&mut self, number: u64) {
        let plan = self.plan.clone();
        let Some(id) = self.open_session(number).await else {
            return;
        };
        let (mut parts, mut rows) = (0_u64, 0);
        for part in 0..plan.workload.parts_per_session {
            if plan.is_over() || self.unanswered >= UNANSWERED_MAX {
                break;
            }
            if let Some(stored) = self.put_part(&id, number, part).await {
                parts += 1;
                rows += stored;
            }
        }
        if plan.workload.commits && parts > 0 {
            self.commit(&id, number, rows).await;
        }
    }

    async fn open_session(&mut self, number: u64) -> Option<String> {
        match self.plan.peer.dialect {
            Dialect::Uploads => {
                self.head("POST", format_args!("/v1/upload/session"), 0, &[]);
                let answer = self.exchange(&[], |tally| &mut tally.open_session).await?;
                let opened: Option<Value> = serde_json::from_slice(&answer.body).ok();
                let id = opened
                    .as_ref()
                    .and_then(|opened| opened["session_id"].as_str());
                if id.is_none() {
                    self.tally.refused("no_session_id");
                }
                id.map(str::to_owned)
            }
            Dialect::Files => {
                let name = format!("s{number}");
                // A session with parts is only the first half of their names.
                if self.plan.workload.parts_per_session == 0 {
                    self.head("PUT", format_args!("/{name}"), 0, &[]);
                    self.exchange(&[], |tally| &mut tally.open_session).await?;
                }
                Some(name)
            }
        }
    }

    /// Gives the rows of the part, if it was acknowledged.
    async fn put_part(&mut self, id: &str, session: u64, part: u64) -> Option<u64> {
        let plan = self.plan.clone();
        let TestPart { bytes, rows } = plan.workload.part(&plan.pool, session, part)?;
        let recipe = &plan.workload.recipe;
        let file_name = format!("part.{}", recipe.extension());
        let mut headers = vec![("x-file-name", file_name.as_str())];
        headers.extend(
            recipe
                .content_encoding()
                .map(|coding| ("content-encoding", coding)),
        );
        match plan.peer.dialect {
            Dialect::Uploads => {
                self.head(
                    "PUT",
                    format_args!("/v1/upload/{id}?part={part}"),
                    bytes.len(),
                    &headers,
                );
            }
            Dialect::Files => {
                self.head("PUT", format_args!("/{id}-{part}"), bytes.len(), &headers);
            }
        }
        self.exchange(bytes, |tally| &mut tally.put_part).await?;
        self.tally.bytes_stored += bytes.len() as u64;
        self.tally.rows_stored += rows;
        Some(*rows)
    }

    async fn commit(&mut self, id: &str, number: u64, rows: u64) {
        let dataset = format!("orders_{}", number % self.plan.workload.tables);
        let body = json!({
            "target": {"workspace": "bench", "collection": "shop", "dataset": dataset},
            "snapshot_message": null,
            "conflict_resolution": "append",
        })
        .to_string();
        let headers = [("content-type", "application/json")];
        self.head(
            "POST",
            format_args!("/v1/upload/{id}/commit"),
            body.len(),
            &headers,
        );
        let Some(answer) = self
            .exchange(body.as_bytes(), |tally| &mut tally.commit)
            .await
        else {
            return;
        };
        let committed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let written = committed["rows_written"].as_u64().unwrap_or(0);
        self.tally.rows_committed += written;
        if written != rows {
            self.tally.refused("rows_differ");
        }
    }

    /// Makes the head of the next request.
    fn head(
        &mut self,
        method: &str,
        path: std::fmt::Arguments<'_>,
        length: usize,
        headers: &[(&str, &str)],
    ) {
        let peer = &self.plan.peer;
        self.head.clear();
        // Writing to a vector cannot fail.
        let _ = write!(
            self.head,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n",
            peer.host
        );
        let authorization = peer
            .authorization
            .iter()
            .map(|value| ("authorization", value.as_str()));
        for (name, value) in headers.iter().copied().chain(authorization) {
            let _ = write!(self.head, "{name}: {value}\r\n");
        }
        self.head.extend_from_slice(b"\r\n");
    }

    /// Sends the request whose head was made; counts how long it took, or why it failed.
    async fn exchange(
        &mut self,
        body: &[u8],
        latencies: fn(&mut Tally) -> &mut Latencies,
    ) -> Option<Answer> {
        let started = Instant::now();
        match self.answer(body).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                latencies(&mut self.tally).record(started.elapsed());
                Some(answer)
            }
            Ok(answer) => {
                self.tally.refused(&code(&answer));
                None
            }
            Err(error) => {
                self.tally.refused(&format!("no_answer: {}", error.kind()));
                None
            }
        }
    }

    async fn answer(&mut self, body: &[u8]) -> std::io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.plan.peer.address)
                .await
                .inspect_err(|_| self.unanswered += 1)?,
        };
        let answer = connection
            .exchange(&self.head, body)
            .await
            .inspect_err(|_| self.unanswered += 1)?;
        self.unanswered = 0;
        if !answer.is_last {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

/// The code of a refusal, else its status.
fn code(answer: &Answer) -> String {
    let refusal: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let code = refusal
        .as_ref()
        .and_then(|refusal| refusal["code"].as_str());
    code.map_or_else(|| format!("status_{}", answer.status), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_or_refused() {
        let peer = Peer::at("http://127.0.0.1:8080/", Dialect::Uploads).unwrap();
        assert_eq!(
            (peer.address.port(), peer.host.as_str()),
            (8080, "127.0.0.1:8080")
        );
        let ipv6 = Peer::at("http://[::1]", Dialect::Uploads).unwrap();
        assert_eq!((ipv6.address.port(), ipv6.host.as_str()), (80, "[::1]"));
        for url in [
            "https://127.0.0.1",
            "127.0.0.1:80",
            "http://",
            "http://127.0.0.1/path",
        ] {
            assert!(Peer::at(url, Dialect::Uploads).is_err(), "{url}");
        }
    }

    #[test]
    fn a_refusal_is_counted_by_its_code_or_its_status() {
        let answer = |body: &str| Answer {
            status: 503,
            body: body.into(),
            is_last: false,
        };
        assert_eq!(code(&answer("{\"code\": \"overloaded\"}")), "overloaded");
        assert_eq!(code(&answer("<html>")), "status_503");
    }
}
