//! The memory map as a picture.

use std::fmt::{self, Display, Write as _};
use std::ops::Range;

use super::arena::meet;
use super::{Content, Placed, Plan};
use crate::names::{printable, shortened, shortened_to};

/// Units of the picture (pixels, unless it is scaled) for the arena.
const ARENA: f64 = 760.0;

/// Units for a moment, of which each layer has two; a line of text has to fit.
const MOMENT: f64 = 18.0;

/// Units for what stands above the first layer: title, legend and the axis of bytes.
const TOP: f64 = 108.0;

/// Units for the axis of bytes below the last layer.
const BOTTOM: f64 = 34.0;

/// Units for the column of bytes in use, to the right of the arena.
const USED: f64 = 96.0;

/// Units for a letter; the font is monospaced.
const LETTER: f64 = 6.7;

/// Letters of a label that say enough for it to stay inside its rectangle.
const ENOUGH: usize = 8;

/// Space between text and what it stands beside.
const GAP: f64 = 6.0;

/// Colours follow the reader's. The paper is painted too, since around it may be one that does not.
const STYLE: &str = "
    svg { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
    text { fill: #1f2328; }
    .paper { fill: #ffffff; }
    .head { font-size: 15px; font-weight: bold; }
    .quiet { fill: #59636e; }
    .grid { stroke: #d1d9e0; }
    .tensor rect { fill: #cfe2fb; stroke: #3b74b9; }
    .scratch rect { fill: #fbdcb0; stroke: #b8741a; }
    .hatch { stroke: #3b74b9; opacity: 0.7; }
    .label { paint-order: stroke; stroke-width: 3px; stroke-linejoin: round; pointer-events: none; }
    .on-tensor { stroke: #cfe2fb; }
    .on-scratch { stroke: #fbdcb0; }
    .on-paper { stroke: #ffffff; }
    .peak rect { fill: none; stroke: #cf222e; stroke-width: 2; }
    .peak text { fill: #cf222e; font-weight: bold; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .paper { fill: #0d1117; }
      .quiet { fill: #9198a1; }
      .grid { stroke: #30363d; }
      .tensor rect { fill: #17375f; stroke: #6ca4ea; }
      .scratch rect { fill: #573a0c; stroke: #dda24a; }
      .hatch { stroke: #6ca4ea; }
      .on-tensor { stroke: #17375f; }
      .on-scratch { stroke: #573a0c; }
      .on-paper { stroke: #0d1117; }
      .peak rect { stroke: #ff7b72; }
      .peak text { fill: #ff7b72; }
    }
  ";

impl Plan {
    /// The memory map as an SVG picture, with the network's name in its title: time runs downwards, layer by layer; bytes of
    /// the arena run to the right.
    #[must_use]
    pub fn memory_svg(&self, name: &str) -> String {
        let mut out = String::new();
        let picture = Picture::new(self);
        picture
            .write(&mut out, name)
            .unwrap_or_else(|_: fmt::Error| unreachable!("writing to a string cannot fail"));
        out
    }
}

struct Picture<'a> {
    plan: &'a Plan,
    /// Each layer's name, and what the caller does at the end.
    rows: Vec<String>,
    /// Units for the names, to the left of the arena.
    left: f64,
    /// Units for a word.
    word: f64,
}

/// A rectangle's place and size.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl<'a> Picture<'a> {
    fn new(plan: &'a Plan) -> Self {
        let names = plan.network.layers.iter().map(|layer| shortened(&printable(&layer.name)));
        let rows: Vec<String> = names.chain(["output is read".to_string()]).collect();
        let longest = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
        let left = LETTER * longest as f64 + 4.0 * GAP;
        Self { plan, rows, left, word: ARENA / plan.arena.max(1) as f64 }
    }

    fn write(&self, out: &mut String, name: &str) -> fmt::Result {
        let plan = self.plan;
        let (width, height) = (self.left + ARENA + USED, self.bottom() + BOTTOM);
        let name = Escaped(&shortened(&printable(name))).to_string();
        let title = format!("{name}: {} bytes of RAM", plan.ram_bytes());
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-labelledby="title">"#
        )?;
        writeln!(out, "  <title id=\"title\">{title}</title>")?;
        writeln!(out, "  <style>{STYLE}</style>")?;
        writeln!(
            out,
            r#"  <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"><path class="hatch" d="M0 6 6 0"/></pattern>"#
        )?;
        writeln!(out, r#"  <rect class="paper" width="100%" height="100%"/>"#)?;
        let routing = plan.ram_bytes() - 4 * plan.arena;
        let parts = match routing {
            0 => format!("an arena of {} bytes", 4 * plan.arena),
            _ => format!("an arena of {} bytes, and {routing} of routing weights beside it", 4 * plan.arena),
        };
        text(out, "head", 2.0 * GAP, 26.0, "start", &title)?;
        text(out, "quiet", 2.0 * GAP, 46.0, "start", &format!("{parts}; layers run from top to bottom"))?;
        self.legend(out)?;
        self.grid(out)?;
        let map = plan.memory_map();
        for placed in &map {
            self.place(out, placed)?;
        }
        for layer in 0..plan.network.layers.len() {
            self.overlaps(out, layer)?;
        }
        for placed in &map {
            self.label(out, placed, &map)?;
        }
        self.peak(out)?;
        writeln!(out, "</svg>")
    }

    /// Where the last row ends.
    fn bottom(&self) -> f64 {
        TOP + 2.0 * MOMENT * self.rows.len() as f64
    }

    /// Some words, at some moments.
    fn area(&self, words: &Range<usize>, moments: &Range<usize>) -> Area {
        Area {
            x: self.left + self.word * words.start as f64,
            y: TOP + MOMENT * moments.start as f64,
            width: self.word * words.len() as f64,
            height: MOMENT * moments.len() as f64,
        }
    }

    fn legend(&self, out: &mut String) -> fmt::Result {
        let mut x = 2.0 * GAP;
        for (class, meaning) in [
            ("tensor", "tensor"),
            ("scratch", "scratch (kernels and columns)"),
            ("over", "output written over the input"),
            ("peak", "the layer that takes most"),
        ] {
            let sample = Area { x, y: 58.0, width: 22.0, height: 12.0 };
            writeln!(out, r#"  <g class="legend {class}">"#)?;
            if class == "over" {
                writeln!(out, r#"    <g class="tensor">{}</g>"#, Rectangle(sample, ""))?;
            }
            writeln!(out, "    {}", Rectangle(sample, if class == "over" { HATCHED } else { "" }))?;
            writeln!(out, "  </g>")?;
            text(out, "quiet", x + 22.0 + GAP, 68.0, "start", meaning)?;
            x += 22.0 + 4.0 * GAP + LETTER * meaning.len() as f64;
        }
        Ok(())
    }

    /// Lines for bytes and for layers, and what they mean.
    fn grid(&self, out: &mut String) -> fmt::Result {
        let bytes = 4 * self.plan.arena;
        let (right, bottom) = (self.left + ARENA, self.bottom());
        let step = tick_step(bytes);
        // The arena's own end replaces a tick that would touch it.
        let ticks = (0..bytes).step_by(step).filter(|tick| bytes - tick > step / 2);
        for tick in ticks.chain([bytes]) {
            let x = self.left + self.word * tick as f64 / 4.0;
            line(out, x, TOP - 4.0, x, bottom + 4.0)?;
            for y in [TOP - 8.0, bottom + 16.0] {
                text(out, "quiet tick", x, y, "middle", &tick.to_string())?;
            }
        }
        text(out, "quiet", self.left - 2.0 * GAP, TOP - 8.0, "end", "bytes")?;
        text(out, "quiet", right + USED - 2.0 * GAP, TOP - 8.0, "end", "in use")?;
        let used = self.plan.used_bytes();
        let peak = self.plan.peak().map(|peak| peak.index);
        for (row, name) in self.rows.iter().enumerate() {
            let y = TOP + 2.0 * MOMENT * row as f64;
            line(out, 2.0 * GAP, y, right + USED - 2.0 * GAP, y)?;
            let (y, name) = (y + MOMENT + 4.0, Escaped(name).to_string());
            let class = if row < used.len() { "layer" } else { "quiet" };
            text(out, class, self.left - 2.0 * GAP, y, "end", &name)?;
            // The peak's own is written with its mark.
            if let Some(used) = used.get(row).filter(|_| peak != Some(row)) {
                text(out, "used", right + USED - 2.0 * GAP, y, "end", &used.to_string())?;
            }
        }
        line(out, 2.0 * GAP, bottom, right + USED - 2.0 * GAP, bottom)
    }

    /// A tensor or scratch, with its name in whole for those who point at it.
    fn place(&self, out: &mut String, placed: &Placed) -> fmt::Result {
        let Placed { name, content, words, moments } = placed;
        let class = class(*content);
        let (bytes, start) = (4 * words.len(), 4 * words.start);
        let name = printable(name);
        writeln!(out, r#"  <g class="{class}">"#)?;
        writeln!(out, "    <title>{}: {bytes} bytes from {start} on</title>", Escaped(&name))?;
        writeln!(out, "    {}", Rectangle(self.area(words, moments), ""))?;
        writeln!(out, "  </g>")
    }

    /// Its name and bytes, as far as there is room: inside, or else in free memory to its right.
    fn label(&self, out: &mut String, placed: &Placed, map: &[Placed]) -> fmt::Result {
        let Placed { name, content, words, moments } = placed;
        let name = match content {
            Content::Tensor => printable(name),
            // Beside the name of its layer.
            Content::Scratch => "scratch".into(),
        };
        let bytes = format!(" {}", 4 * words.len());
        let whole = name.chars().count() + bytes.len();
        let letters = |words: usize| ((self.word * words as f64 - 1.5 * GAP) / LETTER).max(0.0) as usize;
        let free = |moment: usize| {
            let others = map.iter().filter(|other| other.moments.contains(&moment));
            let next = others.map(|other| other.words.start).filter(|&start| start >= words.end).min();
            words.end..next.unwrap_or(self.plan.arena)
        };
        let inside = (words.clone(), moments.start, class(*content));
        let outside = moments.clone().map(|moment| (free(moment), moment, "paper"));
        let outside = outside.rev().max_by_key(|(words, ..)| words.len()).unwrap_or_else(|| inside.clone());
        let fits = letters(inside.0.len()) >= whole.min(ENOUGH)
            || letters(inside.0.len()) >= letters(outside.0.len());
        let (words, moment, ground) = if fits { inside } else { outside };
        let letters = letters(words.len());
        if letters < 3 {
            return Ok(());
        }
        let label = match letters.checked_sub(bytes.len()) {
            Some(room) if room >= 3 => shortened_to(&name, room) + &bytes,
            _ => shortened_to(&name, letters),
        };
        let Area { x, y, .. } = self.area(&words, &(moment..moment + 1));
        let class = format!("label on-{ground}");
        text(out, &class, x + GAP, y + MOMENT - 5.0, "start", &Escaped(&label).to_string())
    }

    /// What a layer reads and then writes its output to.
    fn overlaps(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        let output = &self.plan.places[layer.output];
        let inputs = layer.inputs.iter().map(|&id| &self.plan.places[id]);
        for input in inputs.filter(|input| meet(input, output)) {
            let words = input.start.max(output.start)..input.end.min(output.end);
            let area = self.area(&words, &(2 * index..2 * index + 2));
            writeln!(out, r#"  <g class="over">{}</g>"#, Rectangle(area, HATCHED))?;
        }
        Ok(())
    }

    fn peak(&self, out: &mut String) -> fmt::Result {
        let Some(peak) = self.plan.peak() else { return Ok(()) };
        let area = self.area(&(0..self.plan.arena), &(2 * peak.index..2 * peak.index + 2));
        let right = area.x + area.width + USED - 2.0 * GAP;
        writeln!(out, r#"  <g class="peak">"#)?;
        writeln!(out, "    {}", Rectangle(area, ""))?;
        for (y, label) in [
            (area.y + MOMENT - 3.0, "peak".to_string()),
            (area.y + MOMENT + 10.0, peak.ram_bytes.to_string()),
        ] {
            writeln!(out, r#"    <text x="{right:.2}" y="{y:.2}" text-anchor="end">{label}</text>"#)?;
        }
        writeln!(out, "  </g>")
    }
}

fn class(content: Content) -> &'static str {
    match content {
        Content::Tensor => "tensor",
        Content::Scratch => "scratch",
    }
}

/// Attributes of what is hatched.
const HATCHED: &str = r#" fill="url(#hatch)""#;

/// An element, with further attributes.
struct Rectangle(Area, &'static str);

impl Display for Rectangle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Area { x, y, width, height }, attributes) = self;
        write!(f, r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}"{attributes}/>"#)
    }
}

/// Text between tags.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            c => f.write_char(c),
        })
    }
}

/// Text that is escaped already.
fn text(out: &mut String, class: &str, x: f64, y: f64, anchor: &str, escaped: &str) -> fmt::Result {
    writeln!(out, r#"  <text class="{class}" x="{x:.2}" y="{y:.2}" text-anchor="{anchor}">{escaped}</text>"#)
}

fn line(out: &mut String, x: f64, y: f64, to_x: f64, to_y: f64) -> fmt::Result {
    writeln!(out, r#"  <path class="grid" d="M{x:.2} {y:.2} {to_x:.2} {to_y:.2}"/>"#)
}

/// Bytes between ticks: one, two or five times a power of ten, so that there are no more than ten.
fn tick_step(bytes: usize) -> usize {
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|factor| factor * 10_usize.pow(power)));
    steps.into_iter().find(|step| bytes <= 10 * step).unwrap_or(bytes)
}
