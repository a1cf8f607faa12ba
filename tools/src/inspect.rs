//! What a network needs, layer by layer, without running it on data.

use serde::Serialize;

use crate::convert::Model;
use crate::plan::{Flash, Placed, Role, Sizes};
use crate::quantize::{Ranges, Trade};

/// What `condconv inspect` found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Identifies the plan; none without calibration data, on which the plan depends.
    pub plan_id: Option<String>,
    /// The layers.
    pub layers: Vec<LayerSize>,
    /// The routing functions.
    pub routings: Vec<RoutingSize>,
    /// How far int8 tensors reach.
    pub ranges: Ranges,
    /// What int16 tensors cost and bring, where some were chosen; measured on the calibration inputs.
    pub int16: Option<Trade>,
    /// What lies in the arena, and when.
    pub memory_map: Vec<Placed>,
    /// What it needs.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// One layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerSize {
    /// The ONNX node.
    pub name: String,
    /// The library's operator.
    pub op: &'static str,
    /// Output shape: height, width, channels.
    pub shape: [usize; 3],
    /// Element type of the output.
    pub element: &'static str,
    /// Number of experts; 0 for static layers.
    pub experts: usize,
    /// Multiply-accumulates.
    pub macs: usize,
    /// Multiply-accumulates of mixing.
    pub mixing_macs: usize,
    /// Constants.
    pub flash_bytes: usize,
    /// The same by what they are.
    pub flash: Flash,
    /// Bytes of the arena that are in use while it runs.
    pub ram_bytes: usize,
    /// Among them those in which it prepares kernels and columns.
    pub scratch_bytes: usize,
    /// The arena while it runs, in [`COLUMNS`] pieces: `i` input, `o` output, `b` both, `s` scratch, `k` kept for a later
    /// layer, `.` free.
    #[serde(skip)]
    pub map: String,
}

/// Pieces of a layer's map.
pub const COLUMNS: usize = 64;

/// One routing function.
#[derive(Debug, Clone, Serialize)]
pub struct RoutingSize {
    /// The ONNX node.
    pub name: String,
    /// Number of experts.
    pub experts: usize,
    /// Multiply-accumulates.
    pub mixing_macs: usize,
    /// Constants.
    pub flash_bytes: usize,
}

/// Describes a model's plan.
#[must_use]
pub fn inspect(model: &Model, calibrated: bool) -> Inspection {
    let plan = &model.plan;
    let network = &plan.network;
    let memory = plan.roles().into_iter().zip(plan.used_bytes());
    let layers = network.layers.iter().zip(memory).enumerate().map(|(index, (layer, (roles, ram_bytes)))| {
        let tensor = &network.tensors[layer.output];
        LayerSize {
            name: layer.name.clone(),
            op: layer.op.name(),
            shape: [tensor.shape.height, tensor.shape.width, tensor.shape.channels],
            element: tensor.element.rust_name(),
            experts: layer.op.experts().map_or(0, |experts| experts.count),
            macs: layer.op.macs(),
            mixing_macs: layer.op.mixing_macs(),
            flash_bytes: plan.layer_flash(index).bytes(),
            flash: plan.layer_flash(index),
            ram_bytes,
            scratch_bytes: 4 * plan.scratch[index].len(),
            map: map(&roles),
        }
    });
    let routings = network.routings.iter().enumerate().map(|(id, routing)| RoutingSize {
        name: routing.name.clone(),
        experts: routing.bias.len(),
        mixing_macs: routing.matrix.len(),
        flash_bytes: plan.routing_flash(id).bytes(),
    });
    Inspection {
        plan_id: calibrated.then(|| plan.id()),
        layers: layers.collect(),
        routings: routings.collect(),
        ranges: model.ranges.clone(),
        int16: calibrated.then(|| model.int16.clone()).flatten(),
        memory_map: plan.memory_map(),
        sizes: plan.sizes(),
    }
}

/// What most words of each piece of the arena are used for.
fn map(roles: &[Option<Role>]) -> String {
    let piece = |column: usize| column * roles.len() / COLUMNS..(column + 1) * roles.len() / COLUMNS;
    let letter = |role: Option<Role>| match role {
        Some(Role::Input) => 'i',
        Some(Role::Output) => 'o',
        Some(Role::Both) => 'b',
        Some(Role::Scratch) => 's',
        Some(Role::Kept) => 'k',
        None => '.',
    };
    (0..COLUMNS)
        .map(|column| {
            let words = &roles[piece(column)];
            let count = |role: &Option<Role>| words.iter().filter(|other| *other == role).count();
            letter(words.iter().copied().max_by_key(count).unwrap_or_default())
        })
        .collect()
}
