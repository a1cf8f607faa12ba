//! The tables of `docs/speed.md`.

use condconv_tools::emulate::Core;

use crate::suite::NEIGHBOURS;
use crate::table::{Part, Peers, Row, short_name};

/// The tables of some cores, and those that compare all.
pub(crate) fn print(rows: &[Row], peers: &Peers, cores: &[Core]) {
    for core in cores.iter().copied().map(short_name) {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.core == core).collect();
        if !rows.is_empty() {
            of_core(core, &rows, peers);
            neighbours(&rows);
        }
    }
    ratios(rows, peers);
    losses(rows, peers);
}

/// Every figure of a core.
fn of_core(core: &str, rows: &[&Row], peers: &Peers) {
    println!("\n### {core}\n");
    print!("| layer | part | MACs | instructions | per MAC | loads | stores | CMSIS-NN | ratio |");
    let cycles = rows.iter().any(|row| row.cycles().is_some());
    println!("{}", if cycles { " cycles, estimated | CMSIS-NN | ratio |" } else { "" });
    println!("|---|---|{}", "--:|".repeat(if cycles { 10 } else { 7 }));
    for row in rows {
        let Row { layer, part, macs, cost, .. } = row;
        let instructions = cost.instructions;
        let (peer, peer_cycles) = peers.of(row).unzip();
        print!(
            "| {layer} | {} | {} | {instructions} | {} | {} | {} | {} | {} |",
            part.name(),
            if *macs == 0 { "-".into() } else { macs.to_string() },
            if *macs == 0 { "-".into() } else { format!("{:.2}", per_mac(row)) },
            cost.loads,
            cost.stores,
            number(peer),
            ratio(instructions, peer)
        );
        match row.cycles() {
            Some(cycles) => {
                let peer = peer_cycles.flatten();
                println!(" {cycles} | {} | {} |", number(peer), ratio(cycles, peer));
            }
            None => println!(),
        }
    }
}

/// What uneven shapes cost.
fn neighbours(rows: &[&Row]) {
    println!("\n| uneven | per MAC | even | per MAC | ratio |\n|---|--:|---|--:|--:|");
    let find = |layer: &str| rows.iter().find(|row| row.layer == layer);
    for (uneven, even) in NEIGHBOURS {
        if let (Some(a), Some(b)) = (find(uneven), find(even)) {
            let (a, b) = (per_mac(a), per_mac(b));
            println!("| {uneven} | {a:.2} | {even} | {b:.2} | {:.2} |", a / b);
        }
    }
}

/// Instructions over CMSIS-NN's on all cores.
fn ratios(rows: &[Row], peers: &Peers) {
    let cores = Core::ALL.map(short_name);
    println!("\n### Instructions over those of CMSIS-NN\n");
    println!("| layer | part | {} |\n|---|---|{}", cores.join(" | "), "--:|".repeat(cores.len()));
    let mut done: Vec<(&str, Part)> = Vec::new();
    for Row { layer, part, .. } in rows {
        if done.contains(&(layer, *part)) {
            continue;
        }
        done.push((layer, *part));
        let of_core = |core| {
            let row = rows.iter().find(|row| row.key() == (core, layer, *part))?;
            Some(ratio(row.cost.instructions, Some(peers.of(row)?.0)))
        };
        let ratios = cores.map(of_core);
        if ratios.iter().any(Option::is_some) {
            let ratios = ratios.map(|ratio| ratio.unwrap_or_else(|| "-".into()));
            println!("| {layer} | {} | {} |", part.name(), ratios.join(" | "));
        }
    }
}

/// Where CMSIS-NN needs fewer instructions.
fn losses(rows: &[Row], peers: &Peers) {
    println!("\n### Where CMSIS-NN needs fewer instructions\n");
    println!("| core | rows | of them lost | the worst |\n|---|--:|--:|---|");
    for core in Core::ALL.map(short_name) {
        let of_core = rows.iter().filter(|row| row.core == core);
        let ratios: Vec<(f64, &Row)> = of_core
            .filter_map(|row| Some((row.cost.instructions as f64 / peers.of(row)?.0 as f64, row)))
            .collect();
        let Some((worst, row)) = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
        let lost = ratios.iter().filter(|(ratio, _)| *ratio > 1.0).count();
        let (layer, part) = (&row.layer, row.part.name());
        println!("| {core} | {} | {lost} | {layer}, {part}: {worst:.2} |", ratios.len());
    }
}

fn per_mac(row: &Row) -> f64 {
    row.cost.instructions as f64 / row.macs as f64
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

fn ratio(ours: u64, theirs: Option<u64>) -> String {
    theirs.map_or_else(|| "-".into(), |theirs| format!("{:.2}", ours as f64 / theirs as f64))
}
