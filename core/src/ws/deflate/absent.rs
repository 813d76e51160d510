//! Stands for the codec where it is not compiled in. It cannot be made, so nothing here runs.

use bytes::{Bytes, BytesMut};

use super::super::error::Violation;
use super::super::message::Message;
use super::{Agreed, Compression};

#[derive(Debug)]
pub(in super::super) enum Inflater {}

#[derive(Debug)]
pub(in super::super) enum Deflater {}

impl Inflater {
    pub(in super::super) fn new(_: Agreed) -> Option<Self> {
        None
    }

    pub(in super::super) fn inflate(
        &mut self,
        _: &[u8],
        _: &mut BytesMut,
        _: usize,
    ) -> Result<(), Violation> {
        match *self {}
    }

    pub(in super::super) fn end(&mut self, _: &mut BytesMut, _: usize) -> Result<(), Violation> {
        match *self {}
    }
}

impl Deflater {
    pub(in super::super) fn new(_: Agreed, _: &Compression) -> Option<Self> {
        None
    }

    pub(in super::super) fn deflate(&mut self, _: &Message) -> Option<Bytes> {
        match *self {}
    }
}
