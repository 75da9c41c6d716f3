//! The servers that Calve is compared with, each started on an empty folder for one run.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use calve::bench::{Dialect, OwnServer, Peer};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Harness, python};

const START_MAX: Duration = Duration::from_secs(30);

/// Servers to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The built binary.
    Calve,
    /// Writes each body to a file of its own and syncs its data. No name, no record, no check.
    FileSink,
    /// nginx with its DAV module, which does not sync.
    Nginx,
    /// FastAPI + PyArrow + PyIceberg.
    Service,
}

/// A running server; ended when dropped, before its folder goes.
pub struct Running {
    pub peer: Peer,
    pub pid: u32,
    server: Server,
}

enum Server {
    Own(OwnServer),
    Other(Terminated, TempDir),
}

impl Running {
    /// Ends the server and gives its folder.
    pub fn end(self) -> TempDir {
        match self.server {
            Server::Own(server) => server.kill(),
            Server::Other(process, folder) => {
                drop(process);
                folder
            }
        }
    }
}

/// A child process that is asked to end, and waited for: a killed nginx would leave its workers behind.
struct Terminated(Child);

impl Drop for Terminated {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Calve => "calve",
            Self::FileSink => "file sink",
            Self::Nginx => "nginx",
            Self::Service => "FastAPI service",
        }
    }

    /// Starts one; `None`, said on standard error, where it is not installed.
    pub fn start(self, harness: &Harness, environment: &[(&str, &str)]) -> Option<Running> {
        if self == Self::Calve {
            let server = OwnServer::start(&harness.calve, harness.folder(), environment)
                .expect("the server started");
            let (peer, pid) = (server.peer().clone(), server.pid());
            return Some(Running {
                peer,
                pid,
                server: Server::Own(server),
            });
        }
        let folder = tempfile::tempdir_in(harness.folder()).expect("a temporary folder");
        let (process, address) = match self {
            Self::FileSink => start_file_sink(folder.path()),
            Self::Nginx => start_nginx(folder.path())?,
            Self::Service | Self::Calve => start_service(folder.path())?,
        };
        let dialect = if self == Self::Service {
            Dialect::Uploads
        } else {
            Dialect::Files
        };
        let peer = Peer::at(&format!("http://{address}"), dialect).expect("a URL");
        let pid = process.0.id();
        Some(Running {
            peer,
            pid,
            server: Server::Other(process, folder),
        })
    }
}

fn start_file_sink(folder: &Path) -> (Terminated, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .arg("--file-sink")
        .arg(folder)
        .stdout(Stdio::piped());
    let mut process = Terminated(command.spawn().expect("the file sink"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("its address");
    (process, line.trim().parse().expect("its address"))
}

/// Runs the file sink; says where it listens.
pub fn serve_file_sink(folder: PathBuf) {
    let serving = async move {
        let folder = web::Data::new(folder);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(folder.clone())
                .route("/{name}", web::put().to(sink))
        })
        .bind("127.0.0.1:0")?;
        println!("{}", server.addrs()[0]);
        server.run().await
    };
    actix_web::rt::System::new()
        .block_on(serving)
        .expect("the file sink's end");
}

async fn sink(
    name: web::Path<String>,
    folder: web::Data<PathBuf>,
    mut body: web::Payload,
) -> actix_web::Result<HttpResponse> {
    let mut file = File::create(folder.join(name.as_str()))?;
    while let Some(chunk) = body.next().await {
        file.write_all(&chunk?)?;
    }
    web::block(move || file.sync_data()).await??;
    Ok(HttpResponse::Created().finish())
}

fn start_nginx(folder: &Path) -> Option<(Terminated, SocketAddr)> {
    let address = free_address();
    let place = folder.display();
    // A connection is not closed after 1000 requests, and nothing is logged: it gets what speeds it up.
    let configuration = format!(
        "daemon off; worker_processes auto; pid {place}/pid; error_log stderr crit;
         user root;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; keepalive_requests 100000000; client_max_body_size 0;
           client_body_temp_path {place}/temporary; proxy_temp_path {place}/t1;
           fastcgi_temp_path {place}/t2; uwsgi_temp_path {place}/t3; scgi_temp_path {place}/t4;
           server {{ listen {address}; root {place}/files; location / {{ dav_methods PUT; }} }}
         }}"
    );
    std::fs::create_dir(folder.join("files")).expect("a folder");
    let path = folder.join("nginx.conf");
    std::fs::write(&path, configuration).expect("its configuration");
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null());
    let process = command.spawn().inspect_err(|error| {
        eprintln!("left out: nginx: {error}; on Debian: apt-get install nginx-light");
    });
    let process = Terminated(process.ok()?);
    wait_for(address);
    Some((process, address))
}

fn start_service(folder: &Path) -> Option<(Terminated, SocketAddr)> {
    let address = free_address();
    let mut command = python::command("service.py")?;
    command
        .arg(folder)
        .arg(address.port().to_string())
        .stdin(Stdio::null());
    let process = Terminated(command.spawn().expect("Python"));
    wait_for(address);
    Some((process, address))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

fn wait_for(address: SocketAddr) {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            started.elapsed() < START_MAX,
            "nothing listens on {address}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
