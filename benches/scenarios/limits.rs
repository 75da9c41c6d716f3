//! What the machine itself can do, for the numbers beside it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const WRITTEN_BYTES: usize = 1 << 30;
const BLOCK_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4 << 10;
const PERIOD: Duration = Duration::from_secs(2);

pub fn print(folder: &Path) {
    println!(
        "machine: {} cores, sequential write + fsync {:.0} MB/s, fdatasync of 4 KiB {:.0}/s, loopback {:.0} MB/s\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        sequential_write(folder),
        synced_appends(folder),
        loopback()
    );
}

/// MB/s of one file written and synced.
fn sequential_write(folder: &Path) -> f64 {
    let path = folder.join("sequential");
    let mut file = File::create(&path).expect("a file");
    let block = vec![7; BLOCK_BYTES];
    let started = Instant::now();
    for _ in 0..WRITTEN_BYTES / BLOCK_BYTES {
        file.write_all(&block).expect("a written block");
    }
    file.sync_all().expect("a synced file");
    let took = started.elapsed().as_secs_f64();
    std::fs::remove_file(&path).expect("the file removed");
    WRITTEN_BYTES as f64 / took / 1e6
}

/// Appends a second, each synced before the next.
fn synced_appends(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("appends")).expect("a file");
    let page = [7; PAGE_BYTES];
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < PERIOD {
        file.write_all(&page).expect("a written page");
        file.sync_data().expect("a synced page");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// MB/s of one connection.
fn loopback() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut block = vec![0; BLOCK_BYTES];
        let started = Instant::now();
        let mut received = 0;
        while let Ok(count @ 1..) = stream.read(&mut block) {
            received += count;
        }
        received as f64 / started.elapsed().as_secs_f64() / 1e6
    });
    let mut stream = TcpStream::connect(address).expect("a connection");
    let block = vec![7; BLOCK_BYTES];
    let started = Instant::now();
    while started.elapsed() < PERIOD {
        stream.write_all(&block).expect("a sent block");
    }
    drop(stream);
    reader.join().expect("the reader's end")
}
