//! Everything that the machines must not touch. `.ci/purity` plants this module into each pure
//! crate; each line that ends in `bites` must be an error there.
#![allow(dead_code, missing_docs, unused, clippy::pedantic)]

fn clocks() {
    let _ = std::time::SystemTime::now(); // bites
    let _ = std::time::SystemTime::UNIX_EPOCH.elapsed(); // bites
    std::thread::sleep(std::time::Duration::ZERO); // bites
}

fn monotonic() {
    let _ = std::time::Instant::now(); // bites
}

fn threads() {
    let _ = std::thread::spawn(|| ()); // bites
    let _ = std::thread::Builder::new().spawn(|| ()); // bites
    std::thread::scope(|_| ()); // bites
}

fn sockets() {
    let _ = std::net::TcpStream::connect("127.0.0.1:80"); // bites
    let _ = std::net::TcpListener::bind("127.0.0.1:80"); // bites
    let _ = std::net::UdpSocket::bind("127.0.0.1:80"); // bites
    let _ = std::net::ToSocketAddrs::to_socket_addrs("localhost:80"); // bites
}

fn files() {
    let _ = std::fs::read("x"); // bites
    let _ = std::fs::write("x", ""); // bites
    let _ = std::fs::File::open("x"); // bites
    let _ = std::fs::remove_file("x"); // bites
    let _ = std::path::Path::new("x").exists(); // bites
    let _ = std::process::Command::new("x"); // bites
}

fn maps() {
    let _: std::collections::HashMap<u8, u8> = Default::default(); // bites
    let _: std::collections::HashSet<u8> = Default::default(); // bites
    let _ = std::hash::RandomState::new(); // bites
}

#[allow(clippy::disallowed_types)]
fn maps_where_the_type_is_allowed() {
    let _ = std::collections::HashMap::<u8, u8>::new(); // bites
    let _ = std::collections::HashSet::<u8>::with_capacity(1); // bites
}
