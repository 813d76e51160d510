//! Which of many failures to tell.

use std::net::SocketAddr;

use crate::fault::{Fault, FaultKind, Phase};

/// Why one address did not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The address.
    pub addr: SocketAddr,
    /// What failed.
    pub fault: Fault,
}

/// Whether a fault of an open transport (in a tunnel or the TLS handshake) says that no other
/// address would do better.
pub(super) fn is_final(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Certificate
            | FaultKind::Handshake
            | FaultKind::Record
            | FaultKind::TunnelUnavailable
            | FaultKind::TunnelRefused
            | FaultKind::RuntimeGone
    )
}

/// The fault that explains best why no address served, from the addresses' failures and the
/// lookups'.
pub(super) fn most_telling(failures: &[Failure], lookups: Option<&Fault>) -> Fault {
    let Some(failure) = first_max(failures) else {
        return lookups
            .cloned()
            .unwrap_or(Fault::new(FaultKind::NameNotFound, Phase::Dns));
    };
    // One address: its own words say it all.
    let others = match failures.len() - 1 {
        0 => return failure.fault.clone(),
        1 => "1 other address failed".to_owned(),
        n => format!("{n} other addresses failed"),
    };
    let text = match &failure.fault.detail {
        Some(detail) => format!("{}: {detail}; {others}", failure.addr),
        None => format!("{}; {others}", failure.addr),
    };
    failure.fault.clone().with_detail(text)
}

/// What to say where time ran out before there was a result.
pub(super) fn timed_out(failures: &[Failure], addresses: usize) -> Fault {
    if addresses == 0 {
        return Fault::new(FaultKind::TimedOut, Phase::Dns);
    }
    let fault = Fault::new(FaultKind::TimedOut, Phase::Connect);
    match first_max(failures) {
        Some(Failure { addr, fault: cause }) => fault.with_detail(format!("{addr}: {cause}")),
        None => fault,
    }
}

/// The fault of a failed lookup to keep: a resolver that failed leaves hope that a missing name does
/// not, so it wins.
pub(super) fn worse_lookup(kept: Option<Fault>, new: Fault) -> Fault {
    match kept {
        Some(kept) if kept.kind != FaultKind::NameNotFound => kept,
        Some(kept) if new.kind == FaultKind::NameNotFound => kept,
        _ => new,
    }
}

/// The most telling failure, and of equals the earliest.
fn first_max(failures: &[Failure]) -> Option<&Failure> {
    failures
        .iter()
        .rev()
        .max_by_key(|failure| weight(&failure.fault))
}

/// How much a fault says about why the whole dial failed: first what is wrong here and would fail
/// any address, then how far the connection got.
fn weight(fault: &Fault) -> u8 {
    match fault.kind {
        FaultKind::RuntimeGone => 9,
        FaultKind::OutOfDescriptors | FaultKind::AddressExhausted => 8,
        FaultKind::Certificate | FaultKind::Handshake => 7,
        _ if matches!(fault.phase, Phase::Tls | Phase::Proxy) => 6,
        FaultKind::Refused => 5,
        FaultKind::Reset | FaultKind::Eof | FaultKind::Aborted | FaultKind::BrokenPipe => 4,
        FaultKind::TimedOut => 3,
        FaultKind::Forbidden => 2,
        // What every IPv6 address says where there is no IPv6.
        FaultKind::Unreachable | FaultKind::InvalidAddress => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(last: u8, kind: FaultKind, phase: Phase) -> Failure {
        let addr = SocketAddr::from(([192, 0, 2, last], 80));
        Failure {
            addr,
            fault: Fault::new(kind, phase),
        }
    }

    #[test]
    fn a_refusal_tells_more_than_a_missing_route() {
        let failures = [
            failure(1, FaultKind::Unreachable, Phase::Connect),
            failure(2, FaultKind::Refused, Phase::Connect),
            failure(3, FaultKind::Refused, Phase::Connect),
        ];
        let fault = most_telling(&failures, None);
        assert_eq!(fault.kind, FaultKind::Refused);
        assert_eq!(
            fault.to_string(),
            "connection refused: 192.0.2.2:80; 2 other addresses failed"
        );
    }

    #[test]
    fn the_fault_of_an_only_address_is_told_as_it_is() {
        let only = failure(1, FaultKind::TimedOut, Phase::Connect);
        assert_eq!(most_telling(std::slice::from_ref(&only), None), only.fault);
    }

    #[test]
    fn a_broken_handshake_tells_more_than_a_refusal() {
        let failures = [
            failure(1, FaultKind::Refused, Phase::Connect),
            failure(2, FaultKind::Reset, Phase::Tls),
        ];
        assert_eq!(most_telling(&failures, None).phase, Phase::Tls);
    }

    #[test]
    fn a_failing_resolver_outweighs_a_missing_name() {
        let of = |kind| Fault::new(kind, Phase::Dns);
        let (missing, failed) = (of(FaultKind::NameNotFound), of(FaultKind::NameFailed));
        for (first, second) in [(&missing, &failed), (&failed, &missing)] {
            let kept = worse_lookup(Some(worse_lookup(None, first.clone())), second.clone());
            assert_eq!(kept, failed);
        }
        assert_eq!(most_telling(&[], Some(&failed)), failed);
        assert_eq!(most_telling(&[], None), missing);
    }

    #[test]
    fn faults_are_ranked_by_what_is_wrong_here_and_then_by_how_far_they_got() {
        use FaultKind as Kind;
        // From the least telling to the most; those of a row tell as much.
        let ranks: [&[(Kind, Phase)]; 10] = [
            &[
                (Kind::Unreachable, Phase::Connect),
                (Kind::InvalidAddress, Phase::Connect),
            ],
            &[(Kind::Other, Phase::Connect)],
            &[(Kind::Forbidden, Phase::Connect)],
            &[(Kind::TimedOut, Phase::Connect)],
            &[
                (Kind::Reset, Phase::Connect),
                (Kind::Eof, Phase::Connect),
                (Kind::Aborted, Phase::Connect),
                (Kind::BrokenPipe, Phase::Connect),
            ],
            &[(Kind::Refused, Phase::Connect)],
            &[(Kind::Reset, Phase::Tls), (Kind::Other, Phase::Proxy)],
            &[
                (Kind::Certificate, Phase::Tls),
                (Kind::Handshake, Phase::Tls),
            ],
            &[
                (Kind::OutOfDescriptors, Phase::Connect),
                (Kind::AddressExhausted, Phase::Connect),
            ],
            &[(Kind::RuntimeGone, Phase::Connect)],
        ];
        let told = |first: (Kind, Phase), second: (Kind, Phase)| {
            let failures = [failure(1, first.0, first.1), failure(2, second.0, second.1)];
            let fault = most_telling(&failures, None);
            (fault.kind, fault.phase)
        };
        for (rank, row) in ranks.iter().enumerate() {
            for &fault in *row {
                for &lesser in ranks[..rank].iter().copied().flatten() {
                    assert_eq!(told(fault, lesser), fault);
                    assert_eq!(told(lesser, fault), fault);
                }
                for &equal in *row {
                    assert_eq!(told(fault, equal), fault, "of equals the earliest");
                }
            }
        }
    }

    #[test]
    fn of_two_lookups_that_failed_alike_the_first_is_told() {
        for kind in [FaultKind::NameNotFound, FaultKind::NameFailed] {
            let of = |detail: &str| Fault::new(kind, Phase::Dns).with_detail(detail.to_owned());
            assert_eq!(worse_lookup(Some(of("A")), of("AAAA")), of("A"));
        }
    }
}
