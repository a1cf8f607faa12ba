//! Names from files, as tables, pictures and messages show them.

/// A name that leaves room for the rest of the line: a long one without its middle.
pub(crate) fn shortened(name: &str) -> String {
    shortened_to(name, 48)
}

/// A name of no more letters than that: a longer one without its middle.
pub(crate) fn shortened_to(name: &str, longest: usize) -> String {
    let length = name.chars().count();
    if length <= longest {
        return name.into();
    }
    let (head, tail) = (longest / 2, (longest - longest / 2).saturating_sub(1));
    name.chars().take(head).chain(['…']).chain(name.chars().skip(length - tail)).collect()
}

/// A name with escapes for what has no shape of its own, such as ends of lines and marks that turn the direction.
pub(crate) fn printable(name: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    name.chars().map(escaped).collect()
}
