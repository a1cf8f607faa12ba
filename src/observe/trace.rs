//! The routing weights of an inference, to be looked at after it.

use heapless::Vec;

use super::Observer;
use crate::{MAX_EXPERTS, RoutingWeight};

/// Remembers the routing weights of the last inference, for up to `ROUTINGS` routing functions; further ones
/// are left out.
///
/// ```
/// use condconv::{Observer, RoutingTrace, RoutingWeight};
/// let mut trace = RoutingTrace::<2>::new();
/// trace.routing("block1", &[RoutingWeight::from_num(0.5)]);
/// let (name, weights) = trace.iter().next().unwrap();
/// assert_eq!((name, weights), ("block1", &[RoutingWeight::from_num(0.5)][..]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct RoutingTrace<const ROUTINGS: usize> {
    entries: Vec<(&'static str, Vec<RoutingWeight, MAX_EXPERTS>), ROUTINGS>,
}

impl<const ROUTINGS: usize> RoutingTrace<ROUTINGS> {
    /// An empty trace.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Forgets everything; before the next inference.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Name and weights of each routing function, in the order in which they ran.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[RoutingWeight])> {
        self.entries.iter().map(|(name, weights)| (*name, weights.as_slice()))
    }
}

impl<const ROUTINGS: usize> Observer for RoutingTrace<ROUTINGS> {
    fn routing(&mut self, name: &'static str, weights: &[RoutingWeight]) {
        let known = &weights[..weights.len().min(MAX_EXPERTS)];
        if let Ok(weights) = Vec::from_slice(known) {
            // A full trace keeps what it has.
            let _ = self.entries.push((name, weights));
        }
    }
}
