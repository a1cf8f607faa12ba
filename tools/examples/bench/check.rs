//! Whether a figure has become worse than the committed one.

use crate::table::{Part, Row};

/// Per cent by which a figure may be worse.
const TOLERANCE: u64 = 2;

/// What is wrong with rows that were measured now, and with the committed ones.
pub(crate) fn complaints(committed: &[Row], measured: &[Row]) -> Vec<String> {
    measured.iter().flat_map(|row| of_row(committed, row)).collect()
}

fn of_row(committed: &[Row], row: &Row) -> Vec<String> {
    let Some(before) = committed.iter().find(|before| before.key() == row.key()) else {
        return vec![missing(row.key())];
    };
    [
        ("instructions", Some(before.cost.instructions), Some(row.cost.instructions)),
        ("estimated cycles", before.cycles(), row.cycles()),
    ]
    .into_iter()
    .filter_map(|(what, before, now)| {
        let (before, now) = before.zip(now)?;
        (100 * now > (100 + TOLERANCE) * before).then(|| {
            let (core, layer, part) = row.key();
            let part = part.name();
            let worse = 100.0 * (now as f64 / before as f64 - 1.0);
            format!(
                "{core} {layer}, {part}: {now} {what}, which is {worse:.1} % more than the {before} committed; \
                 make it as fast as before, or run `make bench` and commit the table with the reason"
            )
        })
    })
    .collect()
}

/// The complaint of a row that is not in the table.
pub(crate) fn missing((core, layer, part): (&str, &str, Part)) -> String {
    format!("{core} {layer}, {}: not in the committed table; run `make bench` and commit it", part.name())
}

#[cfg(test)]
mod tests {
    use condconv_tools::profile::Cost;

    use super::*;

    fn row(core: &'static str, instructions: u64, cycles_estimated: u64) -> Row {
        let cost = Cost { instructions, loads: 0, stores: 0, cycles_estimated };
        Row { core, layer: "fc".into(), part: Part::Whole, macs: 1, cost }
    }

    #[test]
    fn only_what_is_worse_by_more_than_two_per_cent_is_named() {
        for (now, complaints_expected) in [
            (row("m4", 1020, 2040), 0),
            (row("m4", 1021, 2040), 1),
            (row("m4", 1021, 2041), 2),
            (row("m4", 1, 1), 0),
        ] {
            let found = complaints(&[row("m4", 1000, 2000)], &[now]);
            assert_eq!(found.len(), complaints_expected, "{found:?}");
        }
        // Cycles of other cores are not estimated.
        assert!(complaints(&[row("m0", 1000, 0)], &[row("m0", 1000, 3000)]).is_empty());
        let found = complaints(&[row("m4", 1000, 2000)], &[row("m4", 1500, 2000)]);
        assert!(
            found[0].contains("m4 fc, whole: 1500 instructions, which is 50.0 % more than the 1000"),
            "{found:?}"
        );
    }

    #[test]
    fn a_row_that_is_missing_is_named() {
        let found = complaints(&[row("m3", 1000, 0)], &[row("m0", 1000, 0)]);
        assert!(
            found.len() == 1 && found[0].contains("m0 fc, whole") && found[0].contains("make bench"),
            "{found:?}"
        );
    }
}
