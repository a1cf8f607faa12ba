//! What lies in flash: bytes of constants, by what they are.

use serde::Serialize;

use super::Plan;
use crate::quantized::{Kernels, Op};

/// Bytes of constants, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flash {
    /// Weights of conditional layers.
    pub experts: usize,
    /// Weights of static layers.
    pub static_weights: usize,
    /// Matrices, biases and scales of routing functions.
    pub routing: usize,
    /// Biases, multipliers, ratios between experts, and functions as tables.
    pub tables: usize,
}

impl Flash {
    /// Their sum.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.experts + self.static_weights + self.routing + self.tables
    }
}

impl std::iter::Sum for Flash {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |a, b| Self {
            experts: a.experts + b.experts,
            static_weights: a.static_weights + b.static_weights,
            routing: a.routing + b.routing,
            tables: a.tables + b.tables,
        })
    }
}

impl Plan {
    /// All constants of the network.
    #[must_use]
    pub fn flash(&self) -> Flash {
        let layers = (0..self.network.layers.len()).map(|layer| self.layer_flash(layer));
        let routings = (0..self.network.routings.len()).map(|id| self.routing_flash(id));
        layers.chain(routings).sum()
    }

    /// Bytes of all constants: the weights file, biases, multipliers, ratios, routing.
    #[must_use]
    pub fn flash_bytes(&self) -> usize {
        self.flash().bytes()
    }

    /// One layer's constants.
    #[must_use]
    pub fn layer_flash(&self, layer: usize) -> Flash {
        let (before, place) = (&self.weight_places[..layer], &self.weight_places[layer]);
        // Weights that several layers have belong to the first of them; what fills the word before them does too.
        let filled = before.iter().map(|place| place.end).max().unwrap_or(0);
        let weights = place.end.saturating_sub(filled);
        let mut flash = Flash { tables: self.table_bytes(layer), ..Flash::default() };
        match self.network.layers[layer].op.kernels() {
            Some(Kernels::Experts(_)) => flash.experts = weights,
            Some(Kernels::Static(_)) => flash.static_weights = weights,
            None => {}
        }
        flash
    }

    fn table_bytes(&self, layer: usize) -> usize {
        let layer = &self.network.layers[layer];
        let tables = match (&layer.op, layer.op.kernels()) {
            (_, Some(Kernels::Static(kernels))) => 4 * kernels.bias.len(),
            (_, Some(Kernels::Experts(kernels))) => {
                4 * (kernels.bias.len() + kernels.expert_bias.len()) + 2 * kernels.ratios.len()
            }
            (Op::Lookup { table, .. }, None) => {
                table.len() * self.network.tensors[layer.output].element.bytes()
            }
            _ => 0,
        };
        tables + 4 * layer.op.requantize().map_or(0, |requantize| requantize.multipliers.len())
    }

    /// One routing function's constants.
    #[must_use]
    pub fn routing_flash(&self, routing: usize) -> Flash {
        let routing = &self.network.routings[routing];
        let bytes = 2 * routing.matrix.len()
            + 8 * routing.bias.len()
            + 2 * routing.multipliers.len()
            + routing.shifts.len();
        Flash { routing: bytes, ..Flash::default() }
    }
}
