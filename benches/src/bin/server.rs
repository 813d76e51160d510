//! The loopback server alone, for other tools: prints its port and serves until it is killed.

fn main() -> std::io::Result<()> {
    fulmar_benches::server::serve(1)
}
