//! A name server on loopback, over UDP and TCP, that answers by a function.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use fulmar_hickory::Hickory;
use fulmar_hickory::hickory_resolver::Resolver;
use fulmar_hickory::hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolverConfig,
};
use fulmar_hickory::hickory_resolver::net::runtime::TokioRuntimeProvider;
use fulmar_hickory::hickory_resolver::proto::op::{Message, OpCode};
use fulmar_hickory::hickory_resolver::proto::rr::{Name, RData, Record, RecordType, rdata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    Tcp,
}

/// Fills in the response to one question; `false`: there is none.
pub(crate) type Answers = fn(&str, RecordType, Over, &mut Message) -> bool;

/// What was asked, in order.
pub(crate) type Asked = Arc<Mutex<Vec<(RecordType, Over)>>>;

#[derive(Clone)]
struct Server {
    answers: Answers,
    asked: Asked,
}

/// Starts a server, and a resolver that asks it.
pub(crate) async fn resolver(answers: Answers) -> (Hickory, Asked) {
    let (udp, tcp) = sockets().await;
    let port = udp.local_addr().unwrap().port();
    let server = Server {
        answers,
        asked: Asked::default(),
    };
    let asked = server.asked.clone();
    tokio::spawn(serve_udp(udp, server.clone()));
    tokio::spawn(serve_tcp(tcp, server));

    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = port;
    }
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, connections);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().attempts = 0;
    (Hickory::new(builder).unwrap(), asked)
}

/// Both on one port.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Another process may have it.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, server: Server) {
    let mut buf = [0; 4096];
    loop {
        let (n, peer): (usize, SocketAddr) = socket.recv_from(&mut buf).await.unwrap();
        if let Some(response) = server.respond(&buf[..n], Over::Udp) {
            socket.send_to(&response, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, server: Server) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let server = server.clone();
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(response) = server.respond(&query, Over::Tcp) {
                    let length = u16::try_from(response.len()).unwrap();
                    stream.write_u16(length).await.unwrap();
                    stream.write_all(&response).await.unwrap();
                }
            }
        });
    }
}

impl Server {
    fn respond(&self, query: &[u8], over: Over) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries.first().unwrap().clone();
        self.asked
            .lock()
            .unwrap()
            .push((question.query_type(), over));
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.metadata.recursion_desired = true;
        response.metadata.recursion_available = true;
        let name = question.name().to_string();
        let record = question.query_type();
        response.add_query(question);
        (self.answers)(&name, record, over, &mut response).then(|| response.to_vec().unwrap())
    }
}

/// Adds an address to a response.
pub(crate) fn address(response: &mut Message, name: &str, ttl: u32, addr: &str) {
    let data = match addr.parse().unwrap() {
        std::net::IpAddr::V4(v4) => RData::A(v4.into()),
        std::net::IpAddr::V6(v6) => RData::AAAA(v6.into()),
    };
    response.add_answer(Record::from_rdata(named(name), ttl, data));
}

/// Adds an alias to a response.
pub(crate) fn alias(response: &mut Message, name: &str, ttl: u32, to: &str) {
    let data = RData::CNAME(rdata::CNAME(named(to)));
    response.add_answer(Record::from_rdata(named(name), ttl, data));
}

/// Adds what says how long the absence of a record holds.
pub(crate) fn authority(response: &mut Message, ttl: u32, minimum: u32) {
    let (host, mail) = (named("ns.test."), named("mail.test."));
    let data = RData::SOA(rdata::SOA::new(host, mail, 1, 1, 1, 1, minimum));
    response.add_authority(Record::from_rdata(named("test."), ttl, data));
}

fn named(name: &str) -> Name {
    name.parse().unwrap()
}
