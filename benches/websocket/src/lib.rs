//! What a WebSocket message takes of this library's client, beside other libraries and a bare socket.
//!
//! [`server`] echoes, or sends without end, from a process of its own; [`peers`] are the clients,
//! behind one trait; [`pattern`] is what each is put through; [`table`] is what they took, and what
//! this library may take.

pub mod pattern;
pub mod peers;
pub mod server;
pub mod table;
