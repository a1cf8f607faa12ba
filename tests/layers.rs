//! Float layers with random weights, quantised and run by the library, against the float reference and the best
//! that a static int8 layer could do. Prints what it measured:
//!
//! ```text
//! cargo test --release --test layers -- --nocapture
//! ```

mod float_layer;
mod random;
mod reference;

use condconv::{Padding, Shape, Window};
use condconv_tools::graph::Clamp;
use float_layer::{Errors, FloatLayer, Parts, Place, percentile};
use random::Random;

/// Tolerances: steps of an int8 output, dB, and 2^-12.
const LARGEST_ERROR: f64 = 5.0;
const PERCENTILE_99: f64 = 1.1;
const MEAN_DB: f64 = -0.3;
const ALPHA_ERROR: f64 = 1.0 / 4096.0;

const EXPERTS: [usize; 7] = [1, 2, 3, 4, 8, 16, 32];
const KERNELS: [[usize; 2]; 5] = [[1, 1], [3, 3], [5, 5], [1, 7], [10, 4]];
const STRIDES: [usize; 3] = [1, 2, 3];
const CHANNELS: [usize; 5] = [1, 3, 7, 13, 23];
const FEATURES: [usize; 5] = [1, 13, 23, 64, 200];
const ACTIVATIONS: [(&str, Clamp); 3] = [
    ("none", Clamp::NONE),
    ("ReLU", Clamp { min: 0.0, max: f32::INFINITY }),
    ("ReLU6", Clamp { min: 0.0, max: 6.0 }),
];

#[test]
fn conv() {
    let kinds = [Kind::Dense, Kind::Grouped];
    report("Conv2d", &[Count::Static], &windows(&kinds));
}

#[test]
fn depthwise() {
    report("DepthwiseConv2d", &[Count::Static], &windows(&[Kind::Depthwise; 3]));
}

#[test]
fn linear() {
    report("Linear, int8", &[Count::Static], &vectors(Place::Inside));
    report("Linear, int16", &[Count::Static], &vectors(Place::Last { pixels: 12 }));
}

#[test]
fn cond_conv() {
    report("CondConv2d", &EXPERTS.map(Count::Experts), &windows(&[Kind::Dense, Kind::Grouped]));
}

/// Where sums are long, the mixing shift is what keeps the accumulator within 32 bits.
#[test]
fn cond_conv_of_many_channels() {
    let forms =
        [128, 512].map(|channels| Form::Window { kind: Kind::Wide { channels }, kernel: [3, 3], stride: 2 });
    report("CondConv2d, many channels", &[2, 8, 32].map(Count::Experts), &forms);
}

#[test]
fn cond_depthwise() {
    report("CondDepthwiseConv2d", &EXPERTS.map(Count::Experts), &windows(&[Kind::Depthwise; 3]));
}

#[test]
fn cond_linear() {
    report("CondLinear, int8", &EXPERTS.map(Count::Experts), &vectors(Place::Inside));
    report("CondLinear, int16", &EXPERTS.map(Count::Experts), &vectors(Place::Last { pixels: 12 }));
}

/// How many kernels a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Static,
    Experts(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dense,
    Grouped,
    Depthwise,
    Wide { channels: usize },
}

/// What a layer computes; everything else is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Window { kind: Kind, kernel: [usize; 2], stride: usize },
    Vector { features: usize, place: Place },
}

impl Form {
    fn label(self) -> String {
        match self {
            Self::Window { kind: Kind::Wide { channels }, .. } => format!("{channels} channels"),
            Self::Window { kernel: [h, w], stride, .. } => format!("{h}x{w} / {stride}"),
            Self::Vector { features, .. } => format!("{features} features"),
        }
    }

    fn place(self) -> Place {
        match self {
            Self::Window { .. } => Place::Inside,
            Self::Vector { place, .. } => place,
        }
    }

    /// A mean over pixels needs fewer inputs than one over single numbers.
    fn calibration_inputs(self) -> usize {
        match self {
            Self::Window { kind: Kind::Wide { .. }, .. } => 32,
            Self::Window { .. } => 64,
            Self::Vector { .. } => 256,
        }
    }

    fn tested_inputs(self) -> usize {
        self.calibration_inputs() / 4
    }
}

fn windows(kinds: &[Kind]) -> Vec<Form> {
    let mut forms = Vec::new();
    for kernel in KERNELS {
        for stride in STRIDES {
            forms.extend(kinds.iter().map(|&kind| Form::Window { kind, kernel, stride }));
        }
    }
    forms
}

fn vectors(place: Place) -> Vec<Form> {
    let each = FEATURES.iter().map(|&features| Form::Vector { features, place });
    // Outputs are few, so every form comes more than once.
    each.cycle().take(4 * FEATURES.len()).collect()
}

/// Measures a layer of every count, form and activation; prints the figures and holds them to the tolerances.
fn report(operator: &str, counts: &[Count], forms: &[Form]) {
    let mut by_count = Table::default();
    let mut by_form = Table::default();
    let mut by_activation = Table::default();
    let mut seed = 0;
    for &count in counts {
        for &form in forms {
            for (activation, clamp) in ACTIVATIONS {
                seed += 1;
                let errors = measure(seed, count, form, clamp);
                let context = || format!("{operator}, {count:?}, {form:?}, {activation}, seed {seed}");
                assert!(errors.largest() <= LARGEST_ERROR, "{}: {} LSB", context(), errors.largest());
                let alpha = errors.largest_alpha();
                assert!(alpha < ALPHA_ERROR, "{}: alpha is off by {alpha}", context());
                let label = match count {
                    Count::Static => "static".to_string(),
                    Count::Experts(n) => format!("n = {n}"),
                };
                by_count.add(&label, &errors);
                by_form.add(&form.label(), &errors);
                by_activation.add(activation, &errors);
            }
        }
    }
    println!("\n{operator}\n{HEADING}\n{by_count}\n{by_form}\n{by_activation}");
    for (label, row) in &by_count.rows {
        let (lsb, db) = (percentile(&row.errors, 0.99), row.mean_db());
        // Behind a ReLU the oracle itself misses the tolerance where kernels are long.
        let long = forms.iter().all(|form| matches!(form, Form::Window { kind: Kind::Wide { .. }, .. }));
        let tolerance = if long { 1.05 * percentile(&row.oracle, 0.99) } else { PERCENTILE_99 };
        assert!(lsb <= tolerance, "{operator}, {label}: {lsb} LSB at 99 %");
        assert!(db >= MEAN_DB, "{operator}, {label}: {db} dB against the oracle");
    }
}

fn measure(seed: u64, count: Count, form: Form, clamp: Clamp) -> Errors {
    let random = &mut Random::new(seed);
    loop {
        let rectified = random.below(2) == 0;
        let layer = FloatLayer::new(draw(random, count, form, clamp), form.place());
        let calibration =
            layer.calibrate(&inputs(random, layer.input(), form.calibration_inputs(), rectified));
        if !layer.fires(&calibration) {
            continue;
        }
        let tested = inputs(random, layer.input(), form.tested_inputs(), rectified);
        return layer.compare(&calibration, &tested).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

fn draw(random: &mut Random, count: Count, form: Form, clamp: Clamp) -> Parts {
    match form {
        Form::Vector { features, .. } => {
            let outputs = random.pick(&CHANNELS);
            parts(random, count, Shape::vector(features), None, outputs, clamp)
        }
        Form::Window { kind, kernel: [h, w], stride } => {
            let (groups, channels, outputs) = match kind {
                Kind::Dense => (1, random.pick(&CHANNELS), random.pick(&CHANNELS)),
                Kind::Grouped => (3, 3 * random.pick(&[1, 3]), 3 * random.pick(&[1, 3, 7])),
                Kind::Wide { channels } => (1, channels, 3),
                Kind::Depthwise => {
                    let channels = random.pick(&CHANNELS);
                    (channels, channels, channels)
                }
            };
            let [top, left, bottom, right] = [h, w, h, w].map(|kernel| random.below(kernel.min(4)));
            let [height, width] = [h, w].map(|kernel| kernel + 2 + random.below(3 * stride));
            let window =
                Window::new([h, w]).stride([stride; 2]).padding(Padding { top, left, bottom, right });
            let input = Shape::new(height, width, channels);
            parts(random, count, input, Some((window, groups)), outputs, clamp)
        }
    }
}

/// Gaussian weights, scaled so that outputs have a deviation of about one, as they have behind a batch norm.
fn parts(
    random: &mut Random,
    count: Count,
    input: Shape,
    convolution: Option<(Window, usize)>,
    outputs: usize,
    clamp: Clamp,
) -> Parts {
    let (n, conditional) = match count {
        Count::Static => (1, false),
        Count::Experts(n) => (n, true),
    };
    let kernel_len = convolution
        .map_or(input.channels, |(window, groups): (Window, usize)| window.taps() * input.channels / groups);
    // The mean square of a routing weight is near 0.3.
    let terms = kernel_len as f64 * if conditional { 0.3 * n as f64 } else { 1.0 };
    let has_expert_bias = conditional && random.below(2) == 0;
    let biased_experts = if has_expert_bias { n } else { 0 };
    Parts {
        input,
        convolution,
        clamp,
        experts: (0..n).map(|_| random.gaussians(outputs * kernel_len, terms.sqrt().recip())).collect(),
        bias: random.gaussians(outputs, 0.3),
        expert_biases: (0..biased_experts).map(|_| random.gaussians(outputs, 0.3)).collect(),
        routing: conditional.then(|| {
            let deviation = random.pick(&[2.0, 6.0]) / (input.channels as f64).sqrt();
            let mean = random.pick(&[-2.0, 0.0, 1.0]);
            let matrix = (0..n).map(|_| random.gaussians(input.channels, deviation)).collect();
            (matrix, random.gaussians(n, 1.0).iter().map(|bias| bias + mean).collect())
        }),
    }
}

/// Gaussian inputs whose channels have means of their own, so that routings differ; rectified ones are what is
/// behind a ReLU.
fn inputs(random: &mut Random, shape: Shape, count: usize, rectified: bool) -> Vec<Vec<f32>> {
    let draw = |random: &mut Random| {
        let means = random.gaussians(shape.channels, 0.5);
        let mut input = random.gaussians(shape.len(), 1.0);
        for (x, mean) in input.iter_mut().zip(means.iter().cycle()) {
            *x = (*x + mean).max(if rectified { 0.0 } else { f32::NEG_INFINITY });
        }
        input
    };
    (0..count).map(|_| draw(random)).collect()
}

const HEADING: &str =
    "             layers  elements  max LSB  99 % LSB  oracle  dB mean  dB 5 %  dB worst  alpha error";

/// Figures by label, in the order in which labels come.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<(String, Row)>,
}

impl Table {
    fn add(&mut self, label: &str, errors: &Errors) {
        let known = self.rows.iter().position(|(known, _)| known == label);
        let index = known.unwrap_or_else(|| {
            self.rows.push((label.to_string(), Row::default()));
            self.rows.len() - 1
        });
        self.rows[index].1.add(errors);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rows.iter().try_for_each(|(label, row)| writeln!(f, "{label:<12} {row}"))
    }
}

/// What was measured on a number of layers.
#[derive(Debug, Default)]
struct Row {
    layers: usize,
    errors: Vec<f64>,
    oracle: Vec<f64>,
    alpha: f64,
    /// One a layer, of layers whose kernels have more than one weight: the oracle's kernel of one weight is exact.
    db: Vec<f64>,
}

impl Row {
    fn add(&mut self, errors: &Errors) {
        self.layers += 1;
        self.errors.extend(errors.integer.iter().map(|e| e / errors.steps_of_int8));
        self.oracle.extend(errors.oracle.iter().map(|e| e / errors.steps_of_int8));
        self.alpha = self.alpha.max(errors.largest_alpha());
        if errors.kernel_len > 1 {
            self.db.push(errors.relative_db());
        }
    }

    fn mean_db(&self) -> f64 {
        self.db.iter().sum::<f64>() / self.db.len() as f64
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>6} {:>9} {:>8.2} {:>9.2} {:>7.2}",
            self.layers,
            self.errors.len(),
            percentile(&self.errors, 1.0),
            percentile(&self.errors, 0.99),
            percentile(&self.oracle, 0.99),
        )?;
        let mut db = self.db.clone();
        db.sort_by(f64::total_cmp);
        match db.first() {
            Some(worst) => {
                write!(f, " {:>8.2} {:>7.2} {worst:>9.2}", self.mean_db(), db[db.len() / 20])?;
            }
            None => write!(f, " {:>8} {:>7} {:>9}", "-", "-", "-")?,
        }
        write!(f, " {:>12.6}", self.alpha)
    }
}
