//! One cell of the matrix: what is asked, and what happens to it.

use fulmar_sim::Method;

use super::body::Body;

/// Where the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Dns,
    Connect,
    Tls,
    /// No byte of the request passes.
    Write,
    /// Ten bytes do.
    WriteLater,
    /// The request passes, and no byte of the response. Malformed: it has no status line.
    FirstByte,
    /// A part of the head does. Malformed: it is beyond the limit.
    Head,
    /// The head does, and nothing of the body. Malformed: the first chunk is none.
    BodyStart,
    /// The head and a part of the body do. Malformed: the second chunk is none.
    Body,
    /// The response is complete, and its status is the fault.
    Answer,
}

/// How it fails there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// For a name: the resolver has no answer this time.
    Fin,
    Rst,
    /// Nothing happens any more: only a clock ends it.
    Silence,
    /// What comes is not what it should be.
    Malformed,
    /// As it will every time: no such name, not permitted.
    Lasting,
    /// A status, and whether it says when to come again.
    Status(u16, bool),
}

/// Every fault there is.
const FAULTS: [(Place, &[How]); 10] = {
    use How::{Fin, Lasting, Malformed, Rst, Silence, Status};
    [
        (Place::Dns, &[Fin, Silence, Lasting]),
        (Place::Connect, &[Rst, Silence, Lasting]),
        (Place::Tls, &[Fin, Rst, Silence, Malformed]),
        (Place::Write, &[Fin, Rst, Silence]),
        (Place::WriteLater, &[Fin, Rst, Silence]),
        (Place::FirstByte, &[Fin, Rst, Silence, Malformed]),
        (Place::Head, &[Fin, Rst, Silence, Malformed]),
        (Place::BodyStart, &[Fin, Rst, Silence, Malformed]),
        (Place::Body, &[Fin, Rst, Silence, Malformed]),
        (
            Place::Answer,
            &[
                Status(404, false),
                Status(408, false),
                Status(409, false),
                Status(417, false),
                Status(421, false),
                Status(425, false),
                Status(429, false),
                Status(429, true),
                Status(500, false),
                Status(502, false),
                Status(503, false),
                Status(503, true),
                Status(504, false),
            ],
        ),
    ]
};

impl Place {
    pub(crate) const ALL: [Self; 10] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Write,
        Self::WriteLater,
        Self::FirstByte,
        Self::Head,
        Self::BodyStart,
        Self::Body,
        Self::Answer,
    ];

    pub(crate) fn is_dial(self) -> bool {
        matches!(self, Self::Dns | Self::Connect | Self::Tls)
    }

    fn is_body(self) -> bool {
        matches!(self, Self::BodyStart | Self::Body)
    }
}

/// What is asked, by method, and by what else makes a repeat harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Head,
    Options,
    Query,
    Put,
    Delete,
    Post,
    Patch,
    /// A method that nobody knows.
    Unknown,
    /// Names of methods are case sensitive: this is no `PUT`.
    LowerPut,
    KeyedPost,
    PromisedPatch,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Query,
        Self::Put,
        Self::Delete,
        Self::Post,
        Self::Patch,
        Self::Unknown,
        Self::LowerPut,
        Self::KeyedPost,
        Self::PromisedPatch,
    ];

    pub(crate) fn method(self) -> Method {
        let name = match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Query => "QUERY",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post | Self::KeyedPost => "POST",
            Self::Patch | Self::PromisedPatch => "PATCH",
            Self::Unknown => "FROBNICATE",
            Self::LowerPut => "put",
        };
        name.parse().unwrap()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) place: Place,
    pub(crate) how: How,
    pub(crate) reused: bool,
    pub(crate) kind: Kind,
    pub(crate) body: Body,
    pub(crate) attempts: u32,
}

/// Every cell with a fault at one of these places.
pub(crate) fn cells(places: &[Place]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (place, hows) in FAULTS {
        if !places.contains(&place) {
            continue;
        }
        for &how in hows {
            add(&mut cells, place, how, false);
            if !place.is_dial() {
                add(&mut cells, place, how, true);
            }
        }
    }
    cells
}

fn add(cells: &mut Vec<Cell>, place: Place, how: How, reused: bool) {
    for kind in Kind::ALL {
        // The response to HEAD has no body to break off in.
        if kind == Kind::Head && place.is_body() {
            continue;
        }
        for body in Body::ALL {
            for attempts in [1, 3] {
                cells.push(Cell {
                    place,
                    how,
                    reused,
                    kind,
                    body,
                    attempts,
                });
            }
        }
    }
}
