//! Results as text for people.

use std::fmt::Write as _;

use clap::ValueEnum as _;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::inspect::Inspection;
use crate::names::shortened;
use crate::plan::{Flash, Sizes};
use crate::profile::{Cost, FileCost, Profile};
use crate::quantize::{NamedRange, RangeMethod, Ranges, Trade, WideTensor};
use crate::verify::Verification;

/// `condconv verify`'s report.
#[must_use]
pub fn verification(result: &Verification) -> String {
    let mut table = aligned_table(
        &[
            "layer",
            "operator",
            "output",
            "type",
            "experts",
            "MACs",
            "SQNR dB",
            "max error LSB",
            "saturations",
        ],
        4,
    );
    for layer in &result.layers {
        table.add_row([
            shortened(&layer.name),
            layer.op.into(),
            dimensions(layer.shape),
            layer.element.into(),
            experts(layer.experts),
            layer.macs.to_string(),
            format!("{:.1}", layer.sqnr_db),
            format!("{:.2}", layer.max_error_lsb),
            layer.saturations.to_string(),
        ]);
    }
    let mut text = format!("{table}\n\n");
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<28}{value}");
    };
    let routing_error = result.routings.iter().map(|routing| routing.max_error).fold(0.0, f64::max);
    if !result.routings.is_empty() {
        let count = result.routings.len();
        line("routing weights", format!("{count} routing functions, largest error {routing_error:.5}"));
    }
    line("output SQNR", format!("{:.1} dB", result.output.sqnr_db));
    line("output max error", format!("{:.4}", result.output.max_error));
    let percent = |share: Option<f64>| share.map(|share| format!("{:.2} %", 100.0 * share));
    for (name, share) in [
        ("accuracy, float", result.output.accuracy_float),
        ("accuracy, int8", result.output.accuracy_int8),
        ("top-1 agreement", result.output.top1_agreement),
    ] {
        if let Some(percent) = percent(share) {
            line(name, format!("{percent} of {} inputs", result.samples));
        }
    }
    text + &ranges(&result.ranges) + &int16(result.int16.as_ref()) + &sizes(&result.sizes, &result.plan_id)
}

/// `condconv inspect`'s report.
#[must_use]
pub fn inspection(result: &Inspection) -> String {
    let mut table = aligned_table(
        &[
            "layer",
            "operator",
            "output",
            "type",
            "experts",
            "MACs",
            "mixing MACs",
            "flash",
            "weights",
            "tables",
            "RAM",
            "scratch",
        ],
        4,
    );
    for layer in &result.layers {
        table.add_row([
            shortened(&layer.name),
            layer.op.into(),
            dimensions(layer.shape),
            layer.element.into(),
            experts(layer.experts),
            layer.macs.to_string(),
            if layer.experts == 0 { "-".into() } else { layer.mixing_macs.to_string() },
            layer.flash_bytes.to_string(),
            (layer.flash.experts + layer.flash.static_weights).to_string(),
            layer.flash.tables.to_string(),
            layer.ram_bytes.to_string(),
            layer.scratch_bytes.to_string(),
        ]);
    }
    for routing in &result.routings {
        let mut row = vec!["-".to_string(); 12];
        row[0] = shortened(&routing.name);
        row[1] = "Routing".into();
        row[2] = dimensions([1, 1, routing.experts]);
        row[4] = experts(routing.experts);
        row[6] = routing.mixing_macs.to_string();
        row[7] = routing.flash_bytes.to_string();
        table.add_row(row);
    }
    let plan = result.plan_id.as_deref().unwrap_or("none without --calibrate");
    format!(
        "{table}\n\n{}\n{}{}{}",
        memory(result),
        ranges(&result.ranges),
        int16(result.int16.as_ref()),
        sizes(&result.sizes, plan),
    )
}

/// The arena over the run, a line a layer.
fn memory(result: &Inspection) -> String {
    let bytes = result.memory_map.iter().map(|placed| 4 * placed.words.end).max().unwrap_or(0);
    let mut text = format!(
        "the arena of {bytes} bytes, layer by layer: i input, o output, b both, s scratch, k kept for a later layer, . free\n"
    );
    for layer in &result.layers {
        let _ = writeln!(text, "  {}  {}", layer.map, shortened(&layer.name));
    }
    text
}

/// Which tensors reach how far.
#[must_use]
pub fn ranges(ranges: &Ranges) -> String {
    let method = |method: RangeMethod| {
        method.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
    };
    let named = |named: &NamedRange| format!(", {}: {}", named.name, method(named.method));
    let others: String = ranges.named.iter().map(named).collect();
    format!("{:<28}{}{others}\n", "ranges", method(ranges.method))
}

/// `condconv profile`'s report.
#[must_use]
pub fn profile(result: &Profile) -> String {
    let header = ["layer", "operator", "output", "experts", "MACs", "mixing MACs"];
    let costs = ["instructions", "per MAC", "loads", "stores", "M4 cycles"];
    let mut table = aligned_table(&[&header[..], &costs].concat(), 3);
    let cost = |cost: &Cost, macs: usize| {
        let per_mac = cost.instructions as f64 / macs as f64;
        [
            cost.instructions.to_string(),
            if macs == 0 { "-".into() } else { format!("{per_mac:.2}") },
            cost.loads.to_string(),
            cost.stores.to_string(),
            cost.cycles_estimated.to_string(),
        ]
    };
    for layer in &result.layers {
        let columns = [
            shortened(&layer.name),
            layer.op.into(),
            dimensions(layer.shape),
            experts(layer.experts),
            layer.macs.to_string(),
            if layer.experts == 0 { "-".into() } else { layer.mixing_macs.to_string() },
        ];
        table.add_row(columns.into_iter().chain(cost(&layer.cost, layer.macs + layer.mixing_macs)));
    }
    let Sizes { macs, mixing_macs, .. } = result.sizes;
    let sums = |name: &str, macs: &str, mixing_macs: &str| {
        [name, "", "", "", macs, mixing_macs].map(String::from).into_iter()
    };
    table.add_row(sums("calls of layers", "", "").chain(cost(&result.rest, 0)));
    let total = sums("infer", &macs.to_string(), &mixing_macs.to_string());
    table.add_row(total.chain(cost(&result.total, macs + mixing_macs)));
    let mut text = format!("{table}\n\n{}\n\n", files(result));
    for (name, value) in [
        ("core", format!("{}, one inference on the first calibration input", result.core)),
        ("cycles, estimated for", result.cycles_model.into()),
        ("equal to the host", "every bit of the output".into()),
        ("code that ran", format!("{} bytes", result.code_bytes)),
        ("code of the library", format!("{} bytes linked", result.library_code_bytes)),
        ("stack", format!("{} bytes", result.stack_bytes)),
    ] {
        let _ = writeln!(text, "{name:<28}{value}");
    }
    text + &sizes(&result.sizes, &result.plan_id)
}

/// Which files the instructions come from.
fn files(result: &Profile) -> Table {
    let mut table = aligned_table(&["instructions from", "", "share"], 1);
    for FileCost { file, instructions } in &result.files {
        let share = 100.0 * *instructions as f64 / result.total.instructions as f64;
        let name = file
            .as_ref()
            .map_or("the network's module and Rust's libraries".into(), |file| format!("src/{file}"));
        table.add_row([name, instructions.to_string(), format!("{share:.1} %")]);
    }
    table
}

/// What int16 tensors cost and bring: nothing where none were chosen.
#[must_use]
pub fn int16(trade: Option<&Trade>) -> String {
    let Some(trade) = trade else { return String::new() };
    let tensor = |tensor: &WideTensor| {
        let share = tensor.noise_share.map(|share| format!(" ({:.0} % of the noise)", 100.0 * share));
        shortened(&tensor.name) + &share.unwrap_or_default()
    };
    let tensors: Vec<String> = trade.tensors.iter().map(tensor).collect();
    let Trade { sqnr_db, sqnr_db_without, ram_bytes, ram_bytes_without, .. } = trade;
    let effect = format!(
        "{sqnr_db_without:.1} -> {sqnr_db:.1} dB on calibration inputs, RAM {ram_bytes_without} -> {ram_bytes} bytes"
    );
    [("int16", tensors.join(", ")), ("", effect)].map(|(name, value)| format!("{name:<28}{value}\n")).concat()
}

/// The lines that end all reports.
#[must_use]
pub fn sizes(sizes: &Sizes, plan: &str) -> String {
    let Sizes {
        macs,
        mixing_macs,
        flash_bytes,
        flash,
        ram_bytes,
        least_ram_bytes,
        fastest_ram_bytes,
        file_order_ram_bytes,
        peak,
        rows,
    } = sizes;
    let rows = rows.as_ref().map(|rows| {
        let value = format!("layers {}, rows of the input kept {}", rows.layers, rows.kept[0]);
        ("row by row", value)
    });
    let Flash { experts, static_weights, routing, tables } = flash;
    let peak = peak.as_ref().map(|peak| {
        let value = format!("{} bytes in use by {}", peak.ram_bytes, shortened(&peak.layer));
        ("RAM, peak", value)
    });
    let file_order = file_order_ram_bytes
        .map(|[least, fastest]| ("RAM, in the file's order", format!("{least} and {fastest} bytes")));
    let lines = [
        ("MACs, mixing and routing", format!("{macs} + {mixing_macs}")),
        ("flash (constants)", format!("{flash_bytes} bytes")),
        (
            "flash, by kind",
            format!("experts {experts}, static weights {static_weights}, routing {routing}, tables {tables}"),
        ),
        ("RAM (size_of::<Network>())", format!("{ram_bytes} bytes")),
        (
            "RAM, least and fastest",
            format!("{least_ram_bytes} and {fastest_ram_bytes} bytes, chosen by --ram"),
        ),
    ];
    let plan = ("plan", plan.to_string());
    let lines = lines.into_iter().chain(file_order).chain(peak).chain(rows).chain([plan]);
    lines.map(|(name, value)| format!("{name:<28}{value}\n")).collect()
}

/// A table without lines, its columns from `first_number` on aligned to the right.
fn aligned_table(header: &[&str], first_number: usize) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for column in table.column_iter_mut() {
        if column.index >= first_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn dimensions([height, width, channels]: [usize; 3]) -> String {
    format!("{height}x{width}x{channels}")
}

fn experts(count: usize) -> String {
    if count == 0 { "-".into() } else { count.to_string() }
}
