//! Connections that do nothing, or as little as they can.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::client::AS_CSV;
use crate::support::server::TestServer;
use crate::support::{PATIENCE, wait_until};

const CONNECTIONS: usize = 1_000;
/// Files that the server may have open more than before the connections: its own client's, and one of its own work.
const FILES_MARGIN: usize = 8;
/// Memory that may stay of a thousand connections: buffers that the allocator keeps for the next ones.
const MEMORY_MARGIN_BYTES: u64 = 16 << 20;

fn connect(server: &TestServer, sent: &[u8]) -> TcpStream {
    let address = server.base_url().strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(sent).expect("write");
    stream
}

/// A third is silent, a third stops in the middle of a head, a third was served and is kept alive.
fn idle_connections(server: &TestServer) -> Vec<TcpStream> {
    (0..CONNECTIONS)
        .map(|number| match number % 3 {
            0 => connect(server, b""),
            1 => connect(
                server,
                b"PUT /v1/upload/a?part=0 HTTP/1.1\r\nhost: calve\r\nx-",
            ),
            _ => {
                let mut served = connect(server, b"GET /health HTTP/1.1\r\nhost: calve\r\n\r\n");
                let count = served.read(&mut [0; 4096]).expect("an answer");
                assert!(count > 0, "the connection was closed");
                served
            }
        })
        .collect()
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out_and_leave_nothing() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    api.put_part(&session, 0, b"a\n1\n", AS_CSV).expect(201);
    let files = server.open_files();
    let await_gone = || {
        wait_until("the connections are gone", PATIENCE, || {
            (server.open_files() <= files + FILES_MARGIN).then_some(())
        });
    };
    // What the first ones leave is not held against them: threads, and what the allocator keeps.
    drop(idle_connections(&server));
    await_gone();
    let memory = server.rss_bytes();

    let idle = idle_connections(&server);
    wait_until("the connections are taken", PATIENCE, || {
        (server.open_files() >= CONNECTIONS).then_some(())
    });
    let held = server.rss_bytes().saturating_sub(memory);
    for part in 0..10 {
        api.put_part(&session, part, b"a\n1\n", AS_CSV).expect(201);
        api.get("/health").expect(200);
    }
    drop(idle);
    await_gone();
    let left = server.rss_bytes().saturating_sub(memory);
    println!("memory of {CONNECTIONS} connections: {held}, left: {left}");
    assert!(left < MEMORY_MARGIN_BYTES, "{left} bytes stay");
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let server = TestServer::start();
    let mut slow = [
        connect(&server, b""),
        connect(&server, b"GET /health HTTP/1.1\r\nhost: calve\r\nx-slow: a"),
    ];
    for stream in &mut slow {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end");
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    }
    server.api().get("/health").expect(200);
}
