//! WebSocket servers that others wrote: Python's `websockets` and aiohttp, and tungstenite. What holds
//! of one holds of all three, so each sentence is said once and proved against each.
//!
//! A server is started here, on a free port, for each test. One that is not installed (`.ci/install`)
//! fails its tests and says so.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod delivery;
mod ends;
mod liveness;
mod messages;
mod opening;
mod reconnecting;
mod rust_server;
mod server;

use std::time::Duration;

use tokio::runtime::Builder;

use crate::server::{Library, Server};

/// A test that takes longer does not end by itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn prove<F: Future<Output = ()>>(library: Library, sentence: impl FnOnce(Server) -> F) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let proved = tokio::time::timeout(PATIENCE, sentence(Server::start(library)));
        proved.await.expect("it ends by itself");
    });
}

macro_rules! against {
    ($module:ident, $library:ident, $($area:ident: [$($sentence:ident),* $(,)?])*) => {
        mod $module {
            $($(
                #[test]
                fn $sentence() {
                    crate::prove(crate::Library::$library, crate::$area::$sentence);
                }
            )*)*
        }
    };
}

macro_rules! each_server {
    ($($sentences:tt)*) => {
        against!(websockets_of_python, Websockets, $($sentences)*);
        against!(aiohttp, Aiohttp, $($sentences)*);
        against!(tungstenite, Tungstenite, $($sentences)*);
    };
}

each_server! {
    opening: [
        one_client_speaks_http_and_websocket_to_it,
        headers_cookies_and_credentials_reach_it,
        a_sub_protocol_is_agreed_on,
        a_refusal_is_an_error_with_its_status_and_body,
        who_comes_when_there_are_as_many_as_may_be_waits,
    ]
    messages: [
        messages_come_back_of_their_kind,
        messages_are_compressed_as_far_as_it_agrees,
        a_socket_is_a_stream_and_a_sink,
        the_halves_send_and_receive_at_once,
        a_large_message_goes_in_frames_that_it_takes,
        a_message_beyond_the_limit_is_refused_with_1009,
    ]
    ends: [
        a_close_tells_it_code_and_reason,
        its_close_is_told_with_code_and_reason_and_answered_while_nobody_reads,
    ]
    liveness: [
        a_ping_tells_the_round_trip,
        it_is_pinged_while_nobody_reads,
        its_own_pings_are_answered_while_nobody_reads,
        when_it_answers_no_ping_it_is_lost_in_bounded_time,
        without_messages_it_is_left_at_the_read_deadline,
    ]
    delivery: [
        what_is_sent_while_it_is_away_waits_and_arrives_in_order,
        the_unacknowledged_is_sent_again_over_its_restarts,
        subscriptions_are_sent_again_after_its_restart,
        every_message_ends_in_one_way_over_its_restarts,
        receipts_tell_that_it_has_read,
        a_close_flushes_first_and_returns_what_is_left,
        the_urgent_overtakes_the_bulk,
        one_message_too_big_for_it_is_dropped_and_the_rest_arrives,
    ]
    reconnecting: [
        its_close_codes_say_whether_to_connect_again,
        fatal_statuses_stop_a_session,
        when_it_is_busy_the_session_comes_back_when_it_says,
        silence_makes_a_session_connect_again,
        a_slow_consumer_admits_its_lag_and_begins_anew,
        attempts_end_while_it_is_away,
    ]
}
