//! The opening handshake: POLICIES 5.4, 5.8, 5.10 and appendix A.9.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::ws::{
    Agreed, Compression, ExtensionError, Handshake, HandshakeError, Negotiated, Offer,
};
use http::HeaderMap;

fn handshake(offer: Offer) -> Handshake {
    Handshake::new(offer, &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
}

fn fields(handshake: &Handshake) -> HeaderMap {
    let mut headers = HeaderMap::new();
    handshake.write(&mut headers);
    headers
}

/// The accept key by another implementation's hand: tungstenite's public one.
fn accept(handshake: &Handshake) -> String {
    let key = fields(handshake)["sec-websocket-key"].clone();
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

fn verify(handshake: &Handshake, more: &[(&str, &str)]) -> Result<Negotiated, HandshakeError> {
    let accept = accept(handshake);
    let mut all = vec![
        ("upgrade", "WebSocket"),
        ("CONNECTION", "keep-alive, Upgrade"),
        ("sec-websocket-accept", accept.as_str()),
    ];
    for (name, value) in more {
        all.retain(|field| !field.0.eq_ignore_ascii_case(name));
        all.push((name, value));
    }
    respond(handshake, 101, &all)
}

fn respond(
    handshake: &Handshake,
    status: u16,
    fields: &[(&str, &str)],
) -> Result<Negotiated, HandshakeError> {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    handshake.verify_fields(status, &fields)
}

fn compressing() -> Handshake {
    handshake(Offer {
        compression: Some(Compression::new()),
        ..Offer::default()
    })
}

#[test]
fn the_request_has_the_fields_of_rfc_6455() {
    let offer = Offer {
        protocols: vec!["chat".into(), "v2.chat".into()],
        compression: Some(Compression::new()),
    };
    let headers = fields(&handshake(offer));
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "Upgrade");
    assert_eq!(headers["sec-websocket-version"], "13");
    assert_eq!(headers["sec-websocket-key"].len(), 24);
    assert_eq!(headers["sec-websocket-protocol"], "chat, v2.chat");
    assert_eq!(
        headers["sec-websocket-extensions"],
        "permessage-deflate; client_max_window_bits"
    );
    let plain = fields(&handshake(Offer::default()));
    assert_eq!(plain.len(), 4);
}

#[test]
fn each_handshake_has_a_key_of_its_own() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut key = || {
        fields(&Handshake::new(Offer::default(), &mut rng).unwrap())["sec-websocket-key"].clone()
    };
    assert_ne!(key(), key());
}

#[test]
fn sub_protocols_are_tokens_each_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for protocols in [&["a b"][..], &[""], &["chat", "chat"], &["a,b"], &["\r\n"]] {
        let protocols = protocols.iter().map(ToString::to_string).collect();
        let offer = Offer {
            protocols,
            ..Offer::default()
        };
        assert!(Handshake::new(offer, &mut rng).is_err());
    }
}

#[test]
fn a_right_response_opens_whatever_its_case_and_token_list() {
    assert_eq!(
        verify(&handshake(Offer::default()), &[]),
        Ok(Negotiated::default())
    );
}

#[test]
fn a_wrong_response_names_what_is_wrong() {
    let plain = handshake(Offer::default());
    for (field, value, error) in [
        ("upgrade", "h2c", HandshakeError::Upgrade),
        ("upgrade", "websocket, h2c", HandshakeError::Upgrade),
        ("connection", "keep-alive", HandshakeError::Connection),
        ("connection", "upgraded", HandshakeError::Connection),
        (
            "sec-websocket-accept",
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            HandshakeError::Accept,
        ),
        ("sec-websocket-protocol", "chat", HandshakeError::Protocol),
    ] {
        assert_eq!(
            verify(&plain, &[(field, value)]),
            Err(error),
            "{field}: {value}"
        );
    }
    let lower = accept(&plain).to_lowercase();
    let found = verify(&plain, &[("sec-websocket-accept", lower.as_str())]);
    assert_eq!(
        found,
        Err(HandshakeError::Accept),
        "the key is compared exactly"
    );
    for status in [200, 204, 301, 400, 401, 403, 404, 503] {
        assert_eq!(
            respond(&plain, status, &[]),
            Err(HandshakeError::Status(status))
        );
    }
    assert_eq!(respond(&plain, 101, &[]), Err(HandshakeError::Upgrade));
    let accept = accept(&plain);
    let twice = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", accept.as_str()),
        ("sec-websocket-accept", accept.as_str()),
    ];
    assert_eq!(respond(&plain, 101, &twice), Err(HandshakeError::Accept));
}

#[test]
fn the_server_chooses_one_of_the_sub_protocols_or_none() {
    let offering = handshake(Offer {
        protocols: vec!["chat".into(), "v2".into()],
        ..Offer::default()
    });
    let choose = |value| verify(&offering, &[("sec-websocket-protocol", value)]);
    assert_eq!(choose("v2").unwrap().protocol.as_deref(), Some("v2"));
    assert_eq!(verify(&offering, &[]).unwrap().protocol, None);
    for value in ["v3", "V2", "chat, v2", ""] {
        assert_eq!(choose(value), Err(HandshakeError::Protocol), "{value}");
    }
}

#[test]
fn extension_responses_of_the_vectors() {
    let compressing = compressing();
    let extend = |value| verify(&compressing, &[("sec-websocket-extensions", value)]);
    let all = Agreed {
        client_bits: 15,
        server_bits: 15,
        client_takeover: true,
        server_takeover: true,
    };
    for (value, agreed) in [
        ("permessage-deflate", all),
        (
            "permessage-deflate; server_max_window_bits=10",
            Agreed {
                server_bits: 10,
                ..all
            },
        ),
        (
            "permessage-deflate;server_max_window_bits=\"10\"",
            Agreed {
                server_bits: 10,
                ..all
            },
        ),
        (
            "permessage-deflate; client_max_window_bits=15; server_no_context_takeover",
            Agreed {
                server_takeover: false,
                ..all
            },
        ),
        (
            "permessage-deflate; client_max_window_bits=8; client_no_context_takeover",
            Agreed {
                client_bits: 8,
                client_takeover: false,
                ..all
            },
        ),
    ] {
        assert_eq!(extend(value).unwrap().compression, Some(agreed), "{value}");
    }
}

#[test]
fn extension_responses_of_the_vectors_that_fail() {
    let compressing = compressing();
    let extend = |value| verify(&compressing, &[("sec-websocket-extensions", value)]);
    for (value, error) in [
        ("x-foo", ExtensionError::NotOffered),
        (
            "permessage-deflate, permessage-deflate",
            ExtensionError::NotOffered,
        ),
        ("permessage-deflate, x-foo", ExtensionError::NotOffered),
        (
            "permessage-deflate; server_max_window_bits=16",
            ExtensionError::Parameter,
        ),
        (
            "permessage-deflate; server_max_window_bits=08",
            ExtensionError::Parameter,
        ),
        (
            "permessage-deflate; server_max_window_bits=7",
            ExtensionError::Parameter,
        ),
        (
            "permessage-deflate; server_max_window_bits=999999999999",
            ExtensionError::Parameter,
        ),
        (
            "permessage-deflate; server_max_window_bits",
            ExtensionError::Parameter,
        ),
        (
            "permessage-deflate; client_max_window_bits",
            ExtensionError::Parameter,
        ),
        (
            "permessage-deflate; server_no_context_takeover=1",
            ExtensionError::Parameter,
        ),
        ("permessage-deflate; foo", ExtensionError::Parameter),
        (
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            ExtensionError::Duplicate,
        ),
        (
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            ExtensionError::Duplicate,
        ),
        (
            "permessage-deflate; server_max_window_bits=\"10",
            ExtensionError::Syntax,
        ),
        ("permessage-deflate;", ExtensionError::Syntax),
        ("permessage-deflate; =10", ExtensionError::Syntax),
    ] {
        assert_eq!(
            extend(value),
            Err(HandshakeError::Extension(error)),
            "{value}"
        );
    }
    assert_eq!(
        verify(&compressing, &[]).unwrap().compression,
        None,
        "declined"
    );
}

#[test]
fn an_extension_that_was_not_offered_is_refused() {
    let plain = handshake(Offer::default());
    let found = verify(
        &plain,
        &[("sec-websocket-extensions", "permessage-deflate")],
    );
    assert_eq!(
        found,
        Err(HandshakeError::Extension(ExtensionError::NotOffered))
    );
}

#[test]
fn what_the_low_memory_offer_asks_for_must_be_granted() {
    let low = handshake(Offer {
        compression: Some(Compression::low_memory()),
        ..Offer::default()
    });
    let extend = |value| verify(&low, &[("sec-websocket-extensions", value)]);
    assert_eq!(
        fields(&low)["sec-websocket-extensions"],
        "permessage-deflate; client_max_window_bits=12; server_max_window_bits=12; \
         client_no_context_takeover; server_no_context_takeover"
    );
    let granted = "permessage-deflate; server_max_window_bits=12; server_no_context_takeover";
    let agreed = extend(granted).unwrap().compression.unwrap();
    assert_eq!((agreed.client_bits, agreed.server_bits), (12, 12));
    for value in [
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=12",
        "permessage-deflate; server_max_window_bits=13; server_no_context_takeover",
    ] {
        assert!(extend(value).is_err(), "{value}");
    }
}
