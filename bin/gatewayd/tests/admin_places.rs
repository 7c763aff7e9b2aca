//! However many connections somebody holds on the admin listener, the gateway says whether it lives.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what must not fail may panic"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A gateway that ends with the test.
struct Gateway {
    process: Child,
    admin: u16,
    key: String,
    _dir: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _it_may_be_gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Ports below those that the system gives to outgoing connections by itself.
fn free_ports() -> (u16, u16) {
    let first = 12_000 + u16::try_from(std::process::id() % 19_000).unwrap();
    let mut free = (first..32_000).filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    (free.next().unwrap(), free.next().unwrap())
}

fn start() -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let (data, admin) = free_ports();
    let config = format!(
        "data_dir = \"data\"\n[listen]\naddress = \"127.0.0.1:{data}\"\n[admin]\naddress = \"127.0.0.1:{admin}\"\n\
         [[upstream]]\nname = \"up\"\nurl = \"http://127.0.0.1:9\"\n"
    );
    let file = dir.path().join("gatewayd.toml");
    std::fs::write(&file, config).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_gatewayd"))
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut gateway = Gateway { process, admin, key: String::new(), _dir: dir };
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", admin)).is_err() {
        assert!(
            Instant::now() < deadline && gateway.process.try_wait().unwrap().is_none(),
            "it does not start"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    gateway.key = std::fs::read_to_string(gateway._dir.path().join("data/admin.key")).unwrap();
    gateway
}

impl Gateway {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.admin)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn probe(&self) -> String {
        let mut stream = self.connect();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        read(&mut stream)
    }

    /// A vote whose body does not come.
    fn begin_a_vote(&self) -> TcpStream {
        let mut stream = self.connect();
        let head = format!(
            "POST /api/v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
            self.key.trim()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }
}

fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _a_reset_ends_it_too = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn connections_that_never_ask_and_bodies_that_never_come_keep_nobody_out() {
    let gateway = start();
    let mut half: Vec<TcpStream> = (0..300).map(|_| gateway.begin_a_vote()).collect();
    let answer = gateway.probe();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let _silent: Vec<TcpStream> = (0..250).map(|_| gateway.connect()).collect();
    let answer = gateway.probe();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    // The first of them had to leave; those that stayed are not waited for for ever.
    let first = read(&mut half[0]);
    assert_eq!(first, "");
    drop(half);
    let mut slow = gateway.begin_a_vote();
    let told = read(&mut slow);
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("request_timeout"), "{told:?}");
}
