//! The benchmark suite: what every layer executes on every core, beside CMSIS-NN.
//!
//! ```text
//! make bench           measures, writes tools/bench/condconv.tsv and the tables of docs/speed.md, and prints all
//! make bench-check     measures, and fails where the committed file has better figures
//!
//! cargo run --release --package condconv-tools --example bench -- [measure|check|print] [CORE...]
//! ```
//!
//! Of cores that are not named, the committed figures stay. `print` measures nothing.

use std::process::ExitCode;
use std::str::FromStr as _;
use std::{env, error, thread};

use condconv_tools::convert::Error;
use condconv_tools::emulate::Core;

mod check;
#[path = "../../tests/shared/net.rs"]
mod net;
mod report;
#[path = "../../tests/shared/shipped.rs"]
mod shipped;
mod suite;
mod table;

use suite::Case;
use table::{Peers, Row, short_name};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, cores) =
        arguments.split_first().map_or(("measure", &[][..]), |(first, rest)| (first, rest));
    let cores: Vec<Core> = if cores.is_empty() {
        Core::ALL.to_vec()
    } else {
        cores.iter().map(|name| Core::from_str(name)).collect::<Result<_, _>>()?
    };
    match command {
        "measure" => {
            let measured = measure(&cores, &suite::cases()?)?;
            let mut rows = table::read_ours()?;
            rows.retain(|row| cores.iter().all(|core| short_name(*core) != row.core));
            rows.extend(measured);
            rows.sort_by_key(|row| Core::ALL.iter().position(|core| short_name(*core) == row.core));
            table::write_ours(&rows)?;
            report::print(&rows, &Peers::read()?, &cores);
            Ok(())
        }
        "check" => {
            let (committed, cases) = (table::read_ours()?, suite::cases()?);
            let mut complaints: Vec<String> = absent(&committed, &cases);
            complaints.extend(check::complaints(&committed, &measure(&cores, &cases)?));
            complaints.sort();
            complaints.dedup();
            if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
        }
        "print" => {
            report::print(&table::read_ours()?, &Peers::read()?, &cores);
            Ok(())
        }
        other => Err(format!("no command '{other}': they are measure, check and print").into()),
    }
}

/// Measures cores at the same time: one builds while others run.
fn measure(cores: &[Core], cases: &[Case]) -> Result<Vec<Row>, Error> {
    let measured: Result<Vec<Vec<Row>>, Error> = thread::scope(|scope| {
        let threads: Vec<_> =
            cores.iter().map(|&core| scope.spawn(move || suite::run(core, cases))).collect();
        threads.into_iter().map(|thread| thread.join().expect("errors are returned")).collect()
    });
    measured.map(|rows| rows.concat())
}

/// Complaints about rows of any core that the committed table lacks.
fn absent(committed: &[Row], cases: &[Case]) -> Vec<String> {
    let keys = cases.iter().flat_map(|case| case.parts().iter().map(|&part| (&*case.name, part)));
    let of_all_cores = keys.flat_map(|(layer, part)| Core::ALL.map(|core| (short_name(core), layer, part)));
    of_all_cores.filter(|key| committed.iter().all(|row| row.key() != *key)).map(check::missing).collect()
}
