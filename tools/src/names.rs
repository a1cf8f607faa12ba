//! Names from files, as tables and messages show them.

/// A name that leaves room for the rest of the line: a long one without its middle.
pub(crate) fn shortened(name: &str) -> String {
    const LONGEST: usize = 48;
    let length = name.chars().count();
    if length <= LONGEST {
        return name.into();
    }
    let (head, tail) = (LONGEST / 2, LONGEST - LONGEST / 2 - 1);
    name.chars().take(head).chain(['…']).chain(name.chars().skip(length - tail)).collect()
}
