//! The figures as files: ours, and those of CMSIS-NN.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use condconv_tools::emulate::Core;
use condconv_tools::profile::Cost;

const OURS: &str = "condconv.tsv";
const PEERS: &str = "cmsis_nn.tsv";

const HEADER: &str = "\
# What one inference executes, each part of it on its own (docs/speed.md). Written by `make bench`, compared by
# `make bench-check`. Cycles are estimated for a Cortex-M4 only.
core\tlayer\tpart\tmacs\tinstructions\tloads\tstores\tm4_cycles_estimated
";

/// What of a layer or network a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Pooling and routing weights.
    Routing,
    /// Making kernels of experts.
    Mixing,
    /// A conditional convolution without its mixing.
    Convolution,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Whole, Self::Routing, Self::Mixing, Self::Convolution];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Routing => "routing",
            Self::Mixing => "mixing",
            Self::Convolution => "convolution",
        }
    }
}

/// A line of our file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) core: &'static str,
    pub(crate) layer: String,
    pub(crate) part: Part,
    pub(crate) macs: usize,
    pub(crate) cost: Cost,
}

/// The core as the files name it.
pub(crate) fn short_name(core: Core) -> &'static str {
    core.name().trim_start_matches("cortex-")
}

impl Row {
    /// What tells it from other rows.
    pub(crate) fn key(&self) -> (&str, &str, Part) {
        (self.core, &self.layer, self.part)
    }

    /// Estimated cycles, where the program is a Cortex-M4's.
    pub(crate) fn cycles(&self) -> Option<u64> {
        (self.core == short_name(Core::CortexM4)).then_some(self.cost.cycles_estimated)
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [core, layer, part, macs, instructions, loads, stores, cycles] = fields[..] else { return None };
        Some(Self {
            core: Core::ALL.map(short_name).into_iter().find(|name| *name == core)?,
            layer: layer.into(),
            part: Part::ALL.into_iter().find(|known| known.name() == part)?,
            macs: macs.parse().ok()?,
            cost: Cost {
                instructions: instructions.parse().ok()?,
                loads: loads.parse().ok()?,
                stores: stores.parse().ok()?,
                cycles_estimated: if cycles.is_empty() { 0 } else { cycles.parse().ok()? },
            },
        })
    }

    fn line(&self) -> String {
        let Self { core, layer, part, macs, cost } = self;
        let Cost { instructions, loads, stores, .. } = cost;
        let cycles = self.cycles().map_or_else(String::new, |cycles| cycles.to_string());
        let part = part.name();
        format!("{core}\t{layer}\t{part}\t{macs}\t{instructions}\t{loads}\t{stores}\t{cycles}\n")
    }
}

/// The committed figures; none if there is no file.
pub(crate) fn read_ours() -> Result<Vec<Row>, Box<dyn Error>> {
    if !path(OURS).exists() {
        return Ok(Vec::new());
    }
    lines(OURS)?.map(|(place, line)| Row::parse(&line).ok_or_else(|| malformed(&place))).collect()
}

pub(crate) fn write_ours(rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let path = path(OURS);
    let mut text = HEADER.to_owned();
    rows.iter().for_each(|row| text += &row.line());
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// A layer of CMSIS-NN.
#[derive(Debug)]
pub(crate) struct Peer {
    core: String,
    layer: String,
    kind: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "compared with ours by a test"))]
    macs: usize,
    /// The fewest of several compilers.
    instructions: u64,
    cycles: Option<u64>,
}

/// CMSIS-NN's figures.
pub(crate) struct Peers(Vec<Peer>);

impl Peers {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let peers = lines(PEERS)?.map(|(place, line)| Peer::parse(&line).ok_or_else(|| malformed(&place)));
        Ok(Self(peers.collect::<Result<_, _>>()?))
    }

    /// Name, kind and multiply-accumulates of all layers.
    #[cfg(test)]
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        self.0.iter().map(|peer| (&*peer.layer, &*peer.kind, peer.macs))
    }

    /// Instructions, and estimated cycles where all that is summed has them.
    pub(crate) fn of(&self, row: &Row) -> Option<(u64, Option<u64>)> {
        let same = |peer: &&Peer| peer.core == row.core && peer.layer == row.layer && peer.is_of(row.part);
        let figures = self.0.iter().filter(same).map(|peer| (peer.instructions, peer.cycles));
        figures.reduce(|a, b| (a.0 + b.0, a.1.zip(b.1).map(|(a, b)| a + b)))
    }
}

impl Peer {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [core, layer, kind, macs, _, best, _, cycles] = fields[..] else { return None };
        Some(Self {
            core: core.into(),
            layer: layer.into(),
            kind: kind.into(),
            macs: macs.parse().ok()?,
            instructions: best.parse().ok()?,
            cycles: if cycles.is_empty() { None } else { Some(cycles.parse().ok()?) },
        })
    }

    fn is_of(&self, part: Part) -> bool {
        match part {
            Part::Whole => self.kind != "cc_mix_dynamic",
            Part::Routing => ["cc_gap", "cc_route"].contains(&&*self.kind),
            Part::Mixing => self.kind == "cc_mix_static",
            Part::Convolution => self.kind == "cc_conv",
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(name)
}

/// The lines of a file below its comments and the names of its columns, and where each stands.
fn lines(name: &str) -> Result<impl Iterator<Item = (String, String)>, Box<dyn Error>> {
    let path = path(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let numbered = lines.into_iter().enumerate().filter(|(_, line)| !line.starts_with('#')).skip(1);
    Ok(numbered.map(move |(index, line)| (format!("{}:{}", path.display(), index + 1), line)))
}

fn malformed(place: &str) -> Box<dyn Error> {
    format!("{place}: not a row of the table; take the file from the repository, or run `make bench`").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let cost = Cost { instructions: 5, loads: 6, stores: 7, cycles_estimated: 8 };
        let row = Row { core: "m4", layer: "fc_32_8".into(), part: Part::Mixing, macs: 4, cost };
        assert_eq!(row.line(), "m4\tfc_32_8\tmixing\t4\t5\t6\t7\t8\n");
        assert_eq!(Row::parse(row.line().trim_end()).as_ref(), Some(&row));
        // No cycles are estimated for other cores.
        let other = Row { core: "m0", ..row };
        assert_eq!(other.line(), "m0\tfc_32_8\tmixing\t4\t5\t6\t7\t\n");
        assert_eq!(
            Row::parse(other.line().trim_end_matches('\n')).map(|row| row.cost.cycles_estimated),
            Some(0)
        );
        for line in [
            "",
            "m4\tfc_32_8\tmixing\t4\t5\t6\t7",
            "m5\tfc_32_8\tmixing\t4\t5\t6\t7\t8",
            "m4\tfc\tx\t4\t5\t6\t7\t8",
        ] {
            assert_eq!(Row::parse(line), None, "{line}");
        }
    }

    #[test]
    fn parts_of_a_condconv_are_compared_with_what_the_peers_need_for_the_same() {
        let peer = |kind: &str, instructions, cycles| Peer {
            core: "m4".into(),
            layer: "cc".into(),
            kind: kind.into(),
            macs: 1,
            instructions,
            cycles,
        };
        let peers = Peers(vec![
            peer("cc_gap", 1, None),
            peer("cc_route", 10, Some(1)),
            peer("cc_mix_static", 100, Some(1)),
            peer("cc_mix_dynamic", 1000, Some(1)),
            peer("cc_conv", 10000, Some(2)),
        ]);
        let of =
            |part| peers.of(&Row { core: "m4", layer: "cc".into(), part, macs: 1, cost: Cost::default() });
        assert_eq!(of(Part::Whole), Some((10111, None)));
        assert_eq!(of(Part::Routing), Some((11, None)));
        assert_eq!(of(Part::Mixing), Some((100, Some(1))));
        assert_eq!(of(Part::Convolution), Some((10000, Some(2))));
        assert_eq!(
            peers.of(&Row {
                core: "m3",
                layer: "cc".into(),
                part: Part::Whole,
                macs: 1,
                cost: Cost::default()
            }),
            None
        );
    }
}
