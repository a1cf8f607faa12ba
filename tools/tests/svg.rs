//! The memory map as a picture: well-formed, true to the plan, and safe with any names.

use std::path::Path;

use condconv_tools::convert::Model;
use condconv_tools::plan::{Content, Plan};
use condconv_tools::quantize::Options;
use roxmltree::{Document, Node};

fn plans() -> Vec<Plan> {
    let path = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let mut plans = Vec::new();
    for name in ["models/digits", "models/watch", "tests/fixtures/networks/branches_dynamo"] {
        let file = path(name).with_extension("onnx");
        let plan = Model::load_uncalibrated(&file, &Options::default()).unwrap().plan;
        let least = plan.sizes().least_ram_bytes;
        plans.push(plan.clone().within(least).unwrap());
        plans.push(plan);
    }
    plans
}

/// Left, top, right and bottom.
fn area(node: Node<'_, '_>) -> [f64; 4] {
    let [x, y, width, height] =
        ["x", "y", "width", "height"].map(|name| node.attribute(name).unwrap().parse::<f64>().unwrap());
    [x, y, x + width, y + height]
}

/// Rectangles of groups of a class, and their titles.
fn rectangles<'a>(document: &'a Document<'_>, class: &str) -> Vec<([f64; 4], &'a str)> {
    let groups = document.descendants().filter(|node| node.attribute("class") == Some(class));
    let child = |group: Node<'a, '_>, name: &str| group.children().find(|node| node.has_tag_name(name));
    groups
        .filter_map(|group| {
            let title = child(group, "title").and_then(|title| title.text()).unwrap_or_default();
            child(group, "rect").map(|rect| (area(rect), title))
        })
        // The legend's are in groups within its own.
        .filter(|([_, top, ..], _)| *top >= 100.0)
        .collect()
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> bool {
    // Numbers are rounded to hundredths.
    const SLACK: f64 = 0.02;
    a[0] < b[2] - SLACK && b[0] < a[2] - SLACK && a[1] < b[3] - SLACK && b[1] < a[3] - SLACK
}

fn within(inner: [f64; 4], outer: [f64; 4]) -> bool {
    let slack = 0.02;
    inner[0] >= outer[0] - slack
        && inner[1] >= outer[1] - slack
        && inner[2] <= outer[2] + slack
        && inner[3] <= outer[3] + slack
}

#[test]
fn all_that_lies_in_memory_is_drawn_and_nothing_overlaps() {
    for plan in plans() {
        let picture = plan.memory_svg("network.onnx");
        let document = Document::parse(&picture).unwrap();
        let map = plan.memory_map();
        let mut drawn = Vec::new();
        for (class, content) in [("tensor", Content::Tensor), ("scratch", Content::Scratch)] {
            let found = rectangles(&document, class);
            let placed: Vec<_> = map.iter().filter(|placed| placed.content == content).collect();
            assert_eq!(found.len(), placed.len());
            for ((_, title), placed) in found.iter().zip(placed) {
                let (bytes, start) = (4 * placed.words.len(), 4 * placed.words.start);
                assert_eq!(*title, format!("{}: {bytes} bytes from {start} on", placed.name));
            }
            drawn.extend(found);
        }

        // From words and moments to the picture, as the first shows it, all are drawn alike.
        let edges = |f: fn(f64, f64) -> f64, edge: usize| drawn.iter().map(|(area, _)| area[edge]).reduce(f);
        let bounds = [
            edges(f64::min, 0).unwrap(),
            edges(f64::min, 1).unwrap(),
            edges(f64::max, 2).unwrap(),
            edges(f64::max, 3).unwrap(),
        ];
        let view: Vec<f64> = document
            .root_element()
            .attribute("viewBox")
            .unwrap()
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect();
        assert!(within(bounds, [0.0, 0.0, view[2], view[3]]), "{bounds:?}");
        let word = (bounds[2] - bounds[0]) / plan.arena as f64;
        let last = map.iter().map(|placed| placed.moments.end).max().unwrap();
        let moment = (bounds[3] - bounds[1]) / last as f64;
        for placed in &map {
            let expected = [
                bounds[0] + word * placed.words.start as f64,
                bounds[1] + moment * placed.moments.start as f64,
                bounds[0] + word * placed.words.end as f64,
                bounds[1] + moment * placed.moments.end as f64,
            ];
            let alike = |(area, _): &&([f64; 4], &str)| within(*area, expected) && within(expected, *area);
            assert!(drawn.iter().any(|rectangle| alike(&rectangle)), "{placed:?}");
        }
        for (index, (a, title)) in drawn.iter().enumerate() {
            for (b, other) in &drawn[..index] {
                assert!(!overlap(*a, *b), "{title} and {other}");
            }
        }

        // What is hatched lies in tensors, for a layer each.
        let hatched = rectangles(&document, "over");
        let layers = 0..plan.network.layers.len();
        assert_eq!(hatched.len(), layers.filter(|&layer| plan.overlaps(layer)).count());
        for (area, _) in hatched {
            let touched = drawn.iter().filter(|(tensor, _)| overlap(*tensor, area));
            assert_eq!(touched.count(), 2);
            assert!((area[3] - area[1] - 2.0 * moment).abs() < 0.02);
        }
    }
}

#[test]
fn the_peak_is_marked() {
    for plan in plans() {
        let picture = plan.memory_svg("network.onnx");
        let document = Document::parse(&picture).unwrap();
        let [(area, _)] = rectangles(&document, "peak")[..] else { panic!("one peak") };
        let peak = plan.peak().unwrap();
        let inside = |node: &Node<'_, '_>| {
            let y: f64 = node.attribute("y").unwrap().parse().unwrap();
            node.has_tag_name("text") && area[1] < y && y < area[3]
        };
        let texts: Vec<_> = document.descendants().filter(|node| node.has_tag_name("text")).collect();
        let layer =
            texts.iter().find(|node| node.attribute("class") == Some("layer") && inside(node)).unwrap();
        assert_eq!(layer.text(), Some(peak.layer.as_str()));
        let mark = document.descendants().filter(|node| node.attribute("class") == Some("peak"));
        let words: Vec<_> = mark.flat_map(|mark| mark.descendants()).filter(Node::is_text).collect();
        assert!(words.iter().any(|node| node.text() == Some(&peak.ram_bytes.to_string())));
        let title = document.descendants().find(|node| node.attribute("id") == Some("title")).unwrap();
        assert_eq!(title.text(), Some(&*format!("network.onnx: {} bytes of RAM", plan.ram_bytes())));
    }
}

/// ONNX puts no bounds to names, and XML does.
#[test]
fn any_name_is_escaped() {
    for mut plan in plans() {
        let odd = [
            "</title><script>\"&amp;'",
            "a & b < c > d",
            "]]>",
            "\0\u{1}\u{b}\u{ffff}\u{fffe}",
            "a\nb\tc\r",
            "\u{202e}卷积",
            "",
            "<!--",
        ];
        let long = "<&>".repeat(2000);
        let names = || odd.into_iter().chain([long.as_str()]).cycle();
        plan.network
            .tensors
            .iter_mut()
            .zip(names())
            .for_each(|(tensor, name)| tensor.onnx_name = name.into());
        plan.network.layers.iter_mut().zip(names()).for_each(|(layer, name)| layer.name = name.into());
        let picture = plan.memory_svg("<\"model\" & 'co'>.onnx");
        let document = Document::parse(&picture).unwrap();
        let text = document.descendants().find(|node| node.attribute("class") == Some("head")).unwrap();
        assert!(text.text().unwrap().starts_with("<\"model\" & 'co'>.onnx: "));
        let titles: Vec<_> = rectangles(&document, "tensor").into_iter().map(|(_, title)| title).collect();
        assert!(titles.iter().any(|title| title.starts_with("</title><script>\"&amp;': ")), "{titles:?}");
        assert!(titles.iter().any(|title| title.starts_with("a\\nb\\tc\\r: ")));
        assert!(document.descendants().all(|node| !node.has_tag_name("script")));
    }
}
