//! What lies in the arena, and when.

use std::ops::Range;

use serde::Serialize;

use super::arena::meet;
use super::{Plan, layout};

/// Something in the arena.
#[derive(Debug, Clone, Serialize)]
pub struct Placed {
    /// The ONNX value, or the layer whose scratch it is.
    pub name: String,
    /// What it is.
    pub content: Content,
    /// Words of four bytes.
    pub words: Range<usize>,
    /// When it is needed: a layer reads its input at moment 2 n, if it is the n-th from 0 on, and writes its output then
    /// too or, where that overlaps the input, at 2 n + 1.
    pub moments: Range<usize>,
}

/// What lies in a place of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A tensor.
    Tensor,
    /// Kernels and columns that a layer prepares.
    Scratch,
}

/// The layer that takes most of the arena, the first if there are several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// Its index.
    #[serde(skip)]
    pub index: usize,
    /// The ONNX node.
    pub layer: String,
    /// Bytes of the arena that are in use while it runs.
    pub ram_bytes: usize,
}

/// What a layer uses a word of the arena for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It reads it.
    Input,
    /// It writes it.
    Output,
    /// It reads it, and then writes its output there.
    Both,
    /// It prepares kernels and columns there.
    Scratch,
    /// A later layer needs it.
    Kept,
}

impl Plan {
    /// Everything in the arena.
    #[must_use]
    pub fn memory_map(&self) -> Vec<Placed> {
        let network = &self.network;
        let mut map = Vec::new();
        for (id, lifetime) in layout::lifetimes(network, self.rows.as_ref()).into_iter().enumerate() {
            let Some(steps) = lifetime else { continue };
            let writer = network.layers.iter().position(|layer| layer.output == id);
            let start = 2 * steps.start + usize::from(writer.is_some_and(|step| self.overlaps(step)));
            let last = steps.end - 1;
            let overwritten = network.layers.get(last).is_some_and(|layer| {
                layer.output != id && meet(&self.places[layer.output], &self.places[id])
            });
            let end = 2 * last + if overwritten { 1 } else { 2 };
            let name = network.tensors[id].onnx_name.clone();
            let words = self.places[id].clone();
            map.push(Placed { name, content: Content::Tensor, words, moments: start..end });
        }
        let by_row = self.rows.as_ref().map_or(0, |rows| rows.layers);
        if let Some(words) = self.scratch[..by_row].first().filter(|words| !words.is_empty()) {
            let name = "scratch of the layers that run row by row".into();
            let moments = 0..2 * by_row;
            map.push(Placed { name, content: Content::Scratch, words: words.clone(), moments });
        }
        let scratch = self.scratch.iter().enumerate().skip(by_row);
        for (step, words) in scratch.filter(|(_, words)| !words.is_empty()) {
            let name = format!("scratch of {}", network.layers[step].name);
            let moments = 2 * step..2 * step + 2;
            map.push(Placed { name, content: Content::Scratch, words: words.clone(), moments });
        }
        map
    }

    /// Whether a layer's output lies where one of its inputs does, in part or all.
    #[must_use]
    pub fn overlaps(&self, layer: usize) -> bool {
        let layer = &self.network.layers[layer];
        layer.inputs.iter().any(|&id| meet(&self.places[id], &self.places[layer.output]))
    }

    /// What each word of the arena is used for while each layer runs; none for words that are free.
    #[must_use]
    pub fn roles(&self) -> Vec<Vec<Option<Role>>> {
        let lifetimes = layout::lifetimes(&self.network, self.rows.as_ref());
        let layers = self.network.layers.iter().enumerate();
        let roles = layers.map(|(step, layer)| {
            let mut roles = vec![None; self.arena];
            let live = |id: &usize| lifetimes[*id].as_ref().is_some_and(|steps| steps.contains(&step));
            for id in (0..lifetimes.len()).filter(live) {
                roles[self.places[id].clone()].fill(Some(Role::Kept));
            }
            for &input in &layer.inputs {
                roles[self.places[input].clone()].fill(Some(Role::Input));
            }
            for role in &mut roles[self.places[layer.output].clone()] {
                *role = Some(if *role == Some(Role::Input) { Role::Both } else { Role::Output });
            }
            roles[self.scratch[step].clone()].fill(Some(Role::Scratch));
            roles
        });
        roles.collect()
    }

    /// Bytes of the arena that are in use while each layer runs.
    #[must_use]
    pub fn used_bytes(&self) -> Vec<usize> {
        self.roles().iter().map(|roles| 4 * roles.iter().flatten().count()).collect()
    }

    /// The layer that takes most of the arena.
    #[must_use]
    pub fn peak(&self) -> Option<Peak> {
        let used = self.used_bytes();
        let (index, &ram_bytes) = used.iter().enumerate().rev().max_by_key(|(_, bytes)| **bytes)?;
        Some(Peak { index, layer: self.network.layers[index].name.clone(), ram_bytes })
    }
}
