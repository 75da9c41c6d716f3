//! A socket in the data folder over which other commands ask a running server, whose journal is locked: `calve check` for its
//! records, `calve token` for changes of its tokens.
//!
//! **Protocol.** Whoever connects sends one line of JSON that says what for. The answer to a token command is one line of JSON.
//! That to a request for the records is a header, then every entry of the journal as two lengths (u32, big-endian), key and
//! value, then an end mark with the number of entries, so that a stream that was cut is noticed. The socket is the server's
//! user's alone (mode 0600): whoever can open it can read and change the data folder, too.
//!
//! **Bounds.** One client at a time; others wait. It is served on a blocking thread through a small buffer; a client that does not
//! write or read for `STALL_MAX` is given up. The entries are no snapshot: records change while they are listed.
//!
//! **Failure.** A server that cannot make the socket works without it and says so in its log. What a killed server leaves is
//! replaced by the next.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::rt::net::UnixListener;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::audit::Audit;
use crate::auth::commands::{TokenAnswer, TokenCommand};
use crate::auth::tokens::Tokens;
use crate::clock::SharedClock;
use crate::store::durable;
use crate::store::journal::Journal;
use crate::store::layout::Layout;

/// Everything in a journal.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Says what follows, and in which version.
const HEADER: &[u8; 16] = b"calve records 2\n";
/// In the place of a key's length: there are no more entries.
const END_MARK: u32 = u32::MAX;
/// Longest key or value that is believed; records are some kilobytes.
const ENTRY_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Longest line of JSON, in either direction. A list of as many tokens as there may be is shorter.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest wait for the other side.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Pause after a connection that could not be taken, for instance because no file can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Records,
    Tokens(TokenCommand),
}

/// What the socket gives access to.
#[derive(Clone)]
pub struct Served {
    /// The records.
    pub journal: Journal,
    /// The tokens.
    pub tokens: Arc<Tokens>,
    /// Where changes of tokens are written down.
    pub audit: Audit,
    /// For that.
    pub clock: SharedClock,
}

/// The server's end of the socket.
#[derive(Debug)]
pub struct Control {
    socket: PathBuf,
    accepting: JoinHandle<()>,
    client: Arc<Client>,
}

/// Who is being served, shared with whoever stops that.
#[derive(Debug, Default)]
struct Client {
    is_stopping: AtomicBool,
    stream: Mutex<Option<UnixStream>>,
}

impl Client {
    fn begin(&self, stream: &UnixStream) -> io::Result<()> {
        let handle = stream.try_clone()?;
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }

    /// The connection closes when its last handle goes, which is this one.
    fn end(&self) {
        self.stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Ends a list that is being written, also one whose client does not read.
    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        let stream = self
            .stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stream) = stream {
            // Fails when the client has gone, which is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Control {
    /// Makes the socket and answers on it. The journal is open, so that no other server answers there. Must be called
    /// within a tokio runtime.
    pub fn start(served: Served, layout: &Layout) -> Option<Self> {
        let socket = layout.control_socket();
        let listener = match bind(&socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(path = %socket.display(), %error, "no control socket: `calve check` works only when the server is stopped");
                return None;
            }
        };
        let client = Arc::new(Client::default());
        let accepting = actix_web::rt::spawn(accept(listener, served, client.clone()));
        Some(Self {
            socket,
            accepting,
            client,
        })
    }

    /// Removes the socket. A list that is being written ends early.
    pub async fn stop(self) {
        self.client.stop();
        self.accepting.abort();
        // Its end is what was asked for.
        let _ = self.accepting.await;
        durable::remove_quietly(&self.socket);
    }
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves one connection after the other.
async fn accept(listener: UnixListener, served: Served, client: Arc<Client>) {
    loop {
        let stream = match listener
            .accept()
            .await
            .and_then(|(stream, _)| stream.into_std())
        {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection of the control socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (served, client) = (served.clone(), client.clone());
        let serving = tokio::task::spawn_blocking(move || {
            let answered = serve(&served, &stream, &client);
            client.end();
            answered
        });
        match serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "a client of the control socket got no whole answer")
            }
            Err(error) => tracing::error!(%error, "answering on the control socket panicked"),
        }
    }
}

fn serve(served: &Served, stream: &UnixStream, client: &Client) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(STALL_MAX))?;
    stream.set_read_timeout(Some(STALL_MAX))?;
    client.begin(stream)?;
    match read_line(stream)? {
        Ask::Records => {
            let entries = send_records(&served.journal, stream, client)?;
            tracing::info!(entries, "listed the records for a check");
            Ok(())
        }
        Ask::Tokens(command) => {
            let answer = command.run(&served.tokens, &served.audit, served.clock.now());
            write_line(stream, &answer)
        }
    }
}

fn read_line<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream)
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Sends every entry of the journal; gives their number.
fn send_records(journal: &Journal, stream: &UnixStream, client: &Client) -> io::Result<u64> {
    let mut writer = BufWriter::new(stream);
    writer.write_all(HEADER)?;
    let mut count = 0u64;
    for entry in journal.scan(b"").map_err(io::Error::other)? {
        if client.is_stopping.load(Ordering::Acquire) {
            return Err(io::Error::other("the server is stopping"));
        }
        let (key, value) = entry.map_err(io::Error::other)?;
        for bytes in [&key, &value] {
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            writer.write_all(&length.to_be_bytes())?;
        }
        writer.write_all(&key)?;
        writer.write_all(&value)?;
        count += 1;
    }
    writer.write_all(&END_MARK.to_be_bytes())?;
    writer.write_all(&count.to_be_bytes())?;
    writer.flush()?;
    Ok(count)
}

/// The records of the server that runs on a data folder; `None` when none answers there. Blocks.
pub fn fetch(layout: &Layout) -> Result<Option<Entries>, String> {
    let Some(stream) = connect(layout)? else {
        return Ok(None);
    };
    let received = ask(&stream, &Ask::Records).and_then(|()| receive(&mut BufReader::new(stream)));
    received.map(Some).map_err(|error| {
        format!("the server did not list all its records ({error}); its log may say why. Run the check again")
    })
}

/// Has the server that runs on a data folder do a token command; `None` when none answers there. Blocks.
pub fn token_command(
    layout: &Layout,
    command: &TokenCommand,
) -> Result<Option<TokenAnswer>, String> {
    let Some(stream) = connect(layout)? else {
        return Ok(None);
    };
    let answer = ask(&stream, &Ask::Tokens(command.clone()))
        .and_then(|()| read_line::<Result<TokenAnswer, String>>(&stream));
    match answer {
        Ok(answer) => answer.map(Some),
        Err(error) => Err(format!(
            "the server gave no answer ({error}); `calve token list` shows whether it was done"
        )),
    }
}

fn ask(stream: &UnixStream, ask: &Ask) -> io::Result<()> {
    stream.set_read_timeout(Some(STALL_MAX * 12))?;
    stream.set_write_timeout(Some(STALL_MAX))?;
    write_line(stream, ask)
}

/// The control socket of the server that runs on a data folder; `None` when none answers there.
fn connect(layout: &Layout) -> Result<Option<UnixStream>, String> {
    let socket = layout.control_socket();
    match UnixStream::connect(&socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            // No socket, one that a killed server left, or a path too long for one.
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput => {
                Ok(None)
            }
            _ => Err(format!(
                "cannot ask the server at {}: {error}. Run this as the server's user",
                socket.display()
            )),
        },
    }
}

fn receive(reader: &mut impl Read) -> io::Result<Entries> {
    let mut header = [0; HEADER.len()];
    reader.read_exact(&mut header)?;
    if header != *HEADER {
        return Err(io::Error::other("it is of another version of calve"));
    }
    let mut entries = BTreeMap::new();
    let mut count = 0u64;
    loop {
        let key_length = u32::from_be_bytes(read_array(reader)?);
        if key_length == END_MARK {
            break;
        }
        let value_length = u32::from_be_bytes(read_array(reader)?);
        let key = read_bytes(reader, key_length)?;
        entries.insert(key, read_bytes(reader, value_length)?);
        count += 1;
    }
    if u64::from_be_bytes(read_array(reader)?) != count {
        return Err(io::Error::other("entries are missing"));
    }
    Ok(entries)
}

fn read_array<const LENGTH: usize>(reader: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_bytes(reader: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length > ENTRY_BYTES_MAX {
        return Err(io::Error::other("an entry is too long to be one"));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::credentials::CredentialStore;
    use crate::store::journal::{JournalWriter, Write as JournalWrite};
    use crate::telemetry::Metrics;

    /// A journal of more entries than fit into one buffer.
    async fn journal(layout: &Layout) -> (Journal, JournalWriter) {
        let metrics = Arc::new(Metrics::new());
        let (journal, writer) = Journal::open(layout, Uuid::from_u128(7), metrics).unwrap();
        let entry = |number: u32| (number.to_be_bytes().to_vec(), vec![1; 1000]);
        let write = JournalWrite {
            puts: (0..1000).map(entry).collect(),
            ..JournalWrite::default()
        };
        journal.write(write).unwrap().await.unwrap();
        (journal, writer)
    }

    async fn served(journal: Journal) -> Served {
        let store = CredentialStore::new(journal.clone());
        let clock: SharedClock = Arc::new(SystemClock);
        let loading = tokio::task::spawn_blocking({
            let clock = clock.clone();
            move || Tokens::load(store, clock, "calve").unwrap()
        });
        Served {
            journal,
            tokens: Arc::new(loading.await.unwrap()),
            audit: Audit::default(),
            clock,
        }
    }

    async fn fetch_from(layout: &Layout) -> Result<Option<Entries>, String> {
        let layout = layout.clone();
        tokio::task::spawn_blocking(move || fetch(&layout))
            .await
            .unwrap()
    }

    #[actix_web::test]
    async fn every_entry_arrives_also_at_several_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().to_path_buf());
        assert_eq!(fetch_from(&layout).await, Ok(None));
        let (journal, _writer) = journal(&layout).await;
        let served = served(journal.clone()).await;
        let entries: BTreeMap<_, _> = journal.scan(b"").unwrap().map(Result::unwrap).collect();
        // What a killed server left.
        drop(std::os::unix::net::UnixListener::bind(layout.control_socket()).unwrap());
        assert_eq!(fetch_from(&layout).await, Ok(None));
        let control = Control::start(served, &layout).unwrap();
        let mode = std::fs::metadata(layout.control_socket())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let fetched = futures_util::future::join_all((0..3).map(|_| fetch_from(&layout))).await;
        for one in fetched {
            assert_eq!(one.unwrap().as_ref(), Some(&entries));
        }
        control.stop().await;
        assert!(!layout.control_socket().exists());
        assert_eq!(fetch_from(&layout).await, Ok(None));
    }

    #[actix_web::test]
    async fn a_client_that_does_not_read_does_not_keep_the_server_from_stopping() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().to_path_buf());
        let (journal, writer) = journal(&layout).await;
        let control = Control::start(served(journal).await, &layout).unwrap();
        let socket = layout.control_socket();
        let mut silent = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            ask(&stream, &Ask::Records).unwrap();
            // The list has begun, and has more than the socket's buffers take.
            read_array::<1>(&mut stream).unwrap();
            stream
        })
        .await
        .unwrap();
        control.stop().await;
        // Ends when the last handle of the journal is gone, with the list at the latest.
        tokio::task::spawn_blocking(move || writer.join())
            .await
            .unwrap();
        let mut header = HEADER[..1].to_vec();
        silent.read_to_end(&mut header).unwrap();
        let error = receive(&mut header.as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[actix_web::test]
    async fn a_path_too_long_for_a_socket_is_no_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("x".repeat(120)));
        let (journal, _writer) = journal(&layout).await;
        assert!(Control::start(served(journal).await, &layout).is_none());
        assert_eq!(fetch_from(&layout).await, Ok(None));
    }

    #[test]
    fn a_list_that_was_cut_or_has_gaps_is_refused() {
        let entry = [&1u32.to_be_bytes()[..], &1u32.to_be_bytes(), b"kv"].concat();
        let end = |count: u64| [&END_MARK.to_be_bytes()[..], &count.to_be_bytes()].concat();
        let whole = [HEADER.as_slice(), &entry, &end(1)].concat();
        assert_eq!(receive(&mut whole.as_slice()).unwrap().len(), 1);
        for length in 0..whole.len() {
            assert!(receive(&mut &whole[..length]).is_err(), "{length}");
        }
        let gap = [HEADER.as_slice(), &entry, &end(2)].concat();
        assert!(receive(&mut gap.as_slice()).is_err());
        let other = whole
            .iter()
            .map(|byte| if *byte == b'2' { b'1' } else { *byte });
        let refused = receive(&mut other.collect::<Vec<u8>>().as_slice()).unwrap_err();
        assert!(refused.to_string().contains("another version"), "{refused}");
    }
}
