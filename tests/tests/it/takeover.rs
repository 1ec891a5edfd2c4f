//! One process takes over from another on the same address.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use affinity_tests::models::ONE;
use affinity_tests::{
    Connection, Gateway, Request, Setup, Upstream, gateway, get, post, until, within,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::chat;

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

/// Clients that connect anew for each request, and what went wrong for them.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..4).map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(address).await.expect("a connection");
                    drop(stream);
                    let answer = Connection::open(address).await.ask(&turn()).await;
                    assert_eq!(answer.status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { stop, served, clients }
    }

    async fn some_more(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until(async || self.served.load(Ordering::Relaxed) > before + 20).await;
    }

    /// None of them was refused.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// A gateway that was started as systemd does: with a socket, and told where it is to report to.
struct Activated {
    child: Child,
    manager: UnixDatagram,
    _folder: TempDir,
}

impl Activated {
    async fn start(socket: &TcpListener, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [file, notify] = ["config.yaml", "notify"].map(|name| folder.path().join(name));
        let port = socket.local_addr().unwrap().port();
        let yaml = setup.yaml().replace("port: 12000", &format!("port: {port}"));
        std::fs::write(&file, yaml).unwrap();
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let child = Command::new("/bin/sh")
            .args(["-c", script, gateway().to_str().unwrap(), "serve", "--config"])
            .arg(&file)
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("RUST_LOG")
            .stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let activated = Self { child, manager, _folder: folder };
        assert_eq!(activated.told(), "READY=1");
        activated
    }

    /// The next thing that the manager is told.
    fn told(&self) -> String {
        let mut message = [0; 256];
        let length = self.manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().trim().to_owned()
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }
}

#[tokio::test]
async fn with_a_socket_of_systemd_a_restart_under_load_refuses_no_connection() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut first = Activated::start(&socket, &setup).await;
    let load = Load::start(address);
    load.some_more().await;
    first.signal("HUP").await;
    let told = first.told();
    assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
    assert_eq!(first.told(), "READY=1");
    first.signal("TERM").await;
    assert_eq!(first.told(), "STOPPING=1");
    assert!(within(first.child.wait()).await.unwrap().success());
    // Between the two nobody accepts, and connections wait.
    let second = Activated::start(&socket, &setup).await;
    load.some_more().await;
    load.end().await;
    drop(second);
}

#[tokio::test]
async fn with_reuse_port_the_next_process_takes_over_under_load() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url()).listener("reuse_port: true");
    // Nobody else has the port while both come and go.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    drop(held);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, setup.yaml().replace("port: 12000", &format!("port: {port}"))).unwrap();
    let arguments = ["serve", "--config", file.to_str().unwrap()];
    let mut first = Gateway::command(&arguments).await;
    let load = Load::start(first.address());
    load.some_more().await;
    let second = Gateway::command(&arguments).await;
    assert_eq!(second.address(), first.address());
    load.some_more().await;
    first.signal("TERM").await;
    assert_eq!(first.ended().await.code(), Some(0));
    load.some_more().await;
    load.end().await;
    assert_eq!(second.ask(&get("/readyz")).await.status, 200);
}

#[tokio::test]
async fn a_socket_that_no_listener_has_is_an_error_that_names_it() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, Setup::new(&upstream.url()).yaml()).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut child = Command::new("/bin/sh")
        .args(["-c", script, gateway().to_str().unwrap(), "serve", "--config"])
        .arg(&file)
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = within(lines.next_line()).await.unwrap() {
        said.push_str(&line);
    }
    assert!(said.contains(&address) && said.contains("no listener has"), "{said}");
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(1));
}
