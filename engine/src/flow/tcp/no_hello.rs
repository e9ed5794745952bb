//! What `hello` and `through` do, without the feature `policy`: no connection is held, and none goes through a proxy.

use super::{Connecting, TcpFlow};
use crate::flow::context::Context;
use crate::time::Instant;

impl Connecting {
    #[inline(always)]
    pub(super) fn is_held(&self) -> bool {
        false
    }
}

impl TcpFlow {
    #[inline(always)]
    pub(super) fn hold(&mut self, _: Box<Connecting>, _: Instant) {}

    #[inline(always)]
    pub(super) fn has_unheard(&self) -> bool {
        false
    }

    pub(super) fn talk(&mut self, _: Box<Connecting>, _: &mut Context) {}

    #[inline(always)]
    pub(super) fn listen(&mut self, _: &mut Context) {}
}
