//! Pieces of Rust: tables, shapes, lines that are not too long.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};
use std::ops::Range;

use condconv::{Padding, Shape, Window};

/// Widest line.
pub(super) const LINE: usize = 100;

/// Longest list of arguments that rustfmt leaves on one line.
pub(super) const ARGUMENTS: usize = 60;

/// Longest table that rustfmt leaves on one line.
const SHORT_TABLE: usize = 56;

pub(super) fn shape(shape: Shape) -> String {
    format!("Shape::new({}, {}, {})", shape.height, shape.width, shape.channels)
}

pub(super) fn dimensions(shape: Shape) -> String {
    format!("{}x{}x{}", shape.height, shape.width, shape.channels)
}

pub(super) fn range(range: &Range<usize>) -> String {
    format!("{}..{}", range.start, range.end)
}

/// The words of generated code, without those of comments and strings, which hold names from the file.
pub(super) fn words(code: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let unescaped = line.replace(r"\\", "").replace(r#"\""#, "");
        for outside in unescaped.split('"').step_by(2) {
            words.extend(outside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_string));
        }
    }
    words
}

/// A window as an argument at an indentation; long chains of calls broken as rustfmt breaks them.
pub(super) fn window(window: &Window, indent: usize) -> String {
    const CHAIN: usize = 60;
    let Window { kernel, stride, padding, dilation } = *window;
    let mut calls = vec![format!("Window::new({kernel:?})")];
    if stride != [1, 1] {
        calls.push(format!(".stride({stride:?})"));
    }
    if padding != Padding::default() {
        calls.push(format!(".padding({})", self::padding(&padding)));
    }
    if dilation != [1, 1] {
        calls.push(format!(".dilation({dilation:?})"));
    }
    let line = calls.concat();
    if line.len() <= CHAIN { line } else { calls.join(&format!("\n{}", " ".repeat(indent + 4))) }
}

pub(super) fn padding(padding: &Padding) -> String {
    let Padding { top, left, bottom, right } = *padding;
    if *padding == Padding::symmetric(top, left) {
        format!("Padding::symmetric({top}, {left})")
    } else {
        format!("Padding::new({top}, {left}, {bottom}, {right})")
    }
}

/// `HEAD VALUE` on one line, or on two where one is too long.
pub(super) fn assignment(out: &mut String, indent: &str, head: &str, value: &str) -> fmt::Result {
    if indent.len() + head.len() + 1 + value.len() <= LINE {
        writeln!(out, "{indent}{head} {value}")
    } else {
        writeln!(out, "{indent}{head}\n{indent}    {value}")
    }
}

/// `NAME: [TYPE; LEN] = [..];`, on lines that are not too long.
pub(super) fn table<T: Display>(
    out: &mut String,
    indent: &str,
    name: &str,
    ty: &str,
    values: &[T],
) -> fmt::Result {
    let head = format!("{indent}{name}: [{ty}; {}] = [", values.len());
    let one_line = values.iter().map(T::to_string).collect::<Vec<_>>().join(", ");
    if one_line.len() <= SHORT_TABLE && head.len() + one_line.len() + 2 <= LINE {
        return writeln!(out, "{head}{one_line}];");
    }
    writeln!(out, "{indent}#[rustfmt::skip]")?;
    writeln!(out, "{head}")?;
    write!(out, "{}", wrapped(values, &format!("{indent}    "), LINE))?;
    writeln!(out, "{indent}];")
}

/// Values with commas, in lines of at most `width` columns.
pub(super) fn wrapped<T: Display>(values: &[T], indent: &str, width: usize) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for value in values {
        let value = value.to_string();
        if !line.is_empty() && indent.len() + line.len() + value.len() + 2 > width {
            text.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&value);
        line.push(',');
    }
    if !line.is_empty() {
        text.push_str(&format!("{indent}{line}\n"));
    }
    text
}

/// `checked(OPERATOR::new(ARGUMENTS))` at an indentation, broken as rustfmt breaks it.
pub(super) fn checked(operator: &str, arguments: &[String], indent: usize) -> String {
    let call = format!("{operator}::new({})", arguments.join(", "));
    if call.len() <= ARGUMENTS && !call.contains('\n') {
        return format!("checked({call})");
    }
    let margin = " ".repeat(indent);
    let lines: String = arguments.iter().map(|argument| format!("{margin}    {argument},\n")).collect();
    format!("checked({operator}::new(\n{lines}{margin}))")
}

/// `observer.METHOD(NAME, MORE);` in a method, broken as rustfmt breaks it.
pub(super) fn observe(out: &mut String, method: &str, name: &str, more: &[String]) -> fmt::Result {
    let arguments = [&[format!("{name:?}")], more].concat();
    let list = arguments.join(", ");
    if list.len() <= ARGUMENTS {
        return writeln!(out, "        observer.{method}({list});");
    }
    let lines: String = arguments.iter().map(|argument| format!("            {argument},\n")).collect();
    writeln!(out, "        observer.{method}(\n{lines}        );")
}

/// `NAME.METHOD(ARGUMENTS);` in a method, broken as rustfmt breaks it.
pub(super) fn call(out: &mut String, name: &str, method: &str, arguments: &[impl AsRef<str>]) -> fmt::Result {
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    let list = arguments.join(", ");
    if list.len() <= ARGUMENTS {
        return if 8 + name.len() + ".();".len() + method.len() + list.len() <= LINE {
            writeln!(out, "        {name}.{method}({list});")
        } else {
            writeln!(out, "        {name}\n            .{method}({list});")
        };
    }
    writeln!(out, "        {name}.{method}(")?;
    for argument in arguments {
        writeln!(out, "            {argument},")?;
    }
    writeln!(out, "        );")
}
