//! Fully connected layers: of a vector, or of each pixel of a map.

use condconv::{Shape, Window};

use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, order};
use super::node::Node;
use crate::graph::{Clamp, Kernels, Op};

/// A product with a matrix, of vectors that lie in rows or columns.
struct Product {
    inputs: usize,
    outputs: usize,
    /// Whether the matrix holds a row an output, not a row an input.
    transposed: bool,
    /// Whether the matrix comes first, so that each column is a vector.
    columns: bool,
    /// How many vectors there are.
    vectors: usize,
}

/// The channel of each feature, and the pixel of each vector.
struct Pixels {
    channels: Vec<usize>,
    places: Vec<usize>,
}

impl Product {
    /// Position of a feature of a vector among `features`.
    fn position(&self, vector: usize, feature: usize, features: usize) -> usize {
        if self.columns { feature * self.vectors + vector } else { vector * features + feature }
    }

    /// Where the vectors are the pixels of a map.
    fn pixels(&self, features: &Features, shape: Shape) -> Option<Pixels> {
        let pixels = shape.pixels();
        if self.inputs != shape.channels || self.vectors != pixels || self.outputs == 0 {
            return None;
        }
        let position =
            |vector: usize, feature: usize| features.position(self.position(vector, feature, self.inputs));
        let channels: Vec<_> = (0..self.inputs).map(|feature| position(0, feature) / pixels).collect();
        let places: Vec<_> = (0..self.vectors).map(|vector| position(vector, 0) % pixels).collect();
        let fits = |vector: usize, feature: usize| {
            position(vector, feature) == channels[feature] * pixels + places[vector]
        };
        (0..self.vectors)
            .all(|vector| (0..self.inputs).all(|feature| fits(vector, feature)))
            .then_some(Pixels { channels, places })
    }

    /// Position of a weight in the matrix.
    fn weight(&self, output: usize, input: usize) -> usize {
        if self.transposed { output * self.inputs + input } else { input * self.outputs + output }
    }
}

impl<'a> Importer<'a> {
    /// Gemm or MatMul of features and a matrix: constant, or mixed where it is applied to each pixel of a map. Other forms
    /// are left to probing.
    pub(super) fn linear(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let (Some(a), Some(b)) = (node.input(0), node.input(1)) else { return Ok(None) };
        let is_matrix = |name: &str| {
            self.trace.is_constant(name)
                || (matches!(self.meanings.get(name), Some(Meaning::Routed(_))) && !self.eager)
        };
        let (data, weight) = if is_matrix(a) { (b, a) } else { (a, b) };
        if is_matrix(data) || !is_matrix(weight) {
            return Ok(None);
        }
        let Some(product) = self.product(node, data, weight) else { return Ok(None) };
        let constant = self.trace.is_constant(weight);
        if product.vectors == 1 && (product.columns || !constant) {
            return Ok(None);
        }
        if !constant && !matches!(self.meanings.get(data), Some(Meaning::Features(_))) {
            return Ok(None);
        }
        let features = self.demand(node, data)?;
        let shape = self.shape(&features);
        if product.vectors == 1 && product.outputs != 0 && shape.len() == product.inputs {
            return self.flat(node, weight, &features, &product, output).map(Some);
        }
        match product.pixels(&features, shape) {
            Some(pixels) => self.pixel_by_pixel(node, weight, &features, &product, &pixels, output).map(Some),
            // Perhaps the outputs of experts, to be mixed.
            None if !constant => Ok(None),
            None => Err(Fault::of_order(
                node,
                format!(
                    "multiplies {:?} by a matrix of {} x {}",
                    self.trace.shape(data),
                    product.inputs,
                    product.outputs
                ),
                "flatten the map before the fully connected layer, or use a Conv with kernel 1",
            )),
        }
    }

    /// What a Gemm or MatMul does, if its matrix is one.
    fn product(&self, node: &Node, data: &str, weight: &str) -> Option<Product> {
        let gemm = node.operator == "Gemm";
        let (data_dims, dims) = (self.trace.shape(data), self.trace.shape(weight));
        let columns = node.input(0) == Some(weight);
        let ([.., rows, row], true) = (dims, dims.iter().rev().skip(2).all(|&dim| dim == 1)) else {
            return None;
        };
        let transposed = columns || (gemm && node.int("transB").unwrap_or(0) != 0);
        let (inputs, outputs) = if transposed { (*row, *rows) } else { (*rows, *row) };
        let vectors = self.trace.len(data).checked_div(inputs)?;
        let turned = gemm && node.int("transA").unwrap_or(0) != 0 && vectors != 1;
        let one_matrix = !columns || matches!(data_dims, [.., a, b] if a * b == self.trace.len(data));
        let fits = !turned && one_matrix && !(gemm && columns);
        fits.then_some(Product { inputs, outputs, transposed, columns, vectors })
    }

    /// The whole tensor as one vector.
    fn flat(
        &mut self,
        node: &Node,
        weight: &str,
        features: &Features,
        product: &Product,
        output: &str,
    ) -> Result<Features, Fault> {
        let order = features.nhwc(self.shape(features));
        let kernels = self.matrix(node, weight, product, &order)?;
        let op = Op::Linear { kernels, clamp: Clamp::NONE };
        Ok(self.add_layer(&node.name, op, vec![features.value], output, Shape::vector(product.outputs)))
    }

    /// Each pixel as a vector: a convolution with kernel 1.
    fn pixel_by_pixel(
        &mut self,
        node: &Node,
        weight: &str,
        features: &Features,
        product: &Product,
        Pixels { channels, places }: &Pixels,
        output: &str,
    ) -> Result<Features, Fault> {
        let shape = self.shape(features);
        let pixels = shape.pixels();
        let kernels = self.matrix(node, weight, product, channels)?;
        let mut positions = vec![0; product.outputs * pixels];
        for vector in 0..product.vectors {
            for channel in 0..product.outputs {
                positions[product.position(vector, channel, product.outputs)] =
                    channel * pixels + places[vector];
            }
        }
        let op = Op::Conv { window: Window::new([1, 1]), groups: 1, kernels, clamp: Clamp::NONE };
        let shape = Shape { channels: product.outputs, ..shape };
        Ok(self.add_ordered_layer(&node.name, op, vec![features.value], (output, order(positions)), shape))
    }

    /// The matrix as kernels, `order` being where each input lies in the network.
    fn matrix(
        &mut self,
        node: &Node,
        weight: &str,
        product: &Product,
        order: &[usize],
    ) -> Result<Kernels, Fault> {
        let &Product { inputs, outputs, .. } = product;
        let gemm = node.operator == "Gemm";
        let alpha = if gemm { node.float("alpha").unwrap_or(1.0) } else { 1.0 };
        let arrange = |matrix: &[f32]| {
            let mut kernel = vec![0.0; outputs * inputs];
            for (input, &position) in order.iter().enumerate() {
                for output in 0..outputs {
                    kernel[output * inputs + position] = alpha * matrix[product.weight(output, input)];
                }
            }
            kernel
        };
        let mut kernels = self.kernels(node, weight, None, outputs, arrange)?;
        if gemm {
            kernels.bias = self.gemm_bias(node, outputs)?;
        }
        Ok(kernels)
    }

    fn gemm_bias(&self, node: &Node, channels: usize) -> Result<Vec<f32>, Fault> {
        let Some(name) = node.input(2) else { return Ok(vec![0.0; channels]) };
        let beta = node.float("beta").unwrap_or(1.0);
        let bias = self.trace.floats(name).unwrap_or_default();
        match bias[..] {
            [same] => Ok(vec![beta * same; channels]),
            _ if bias.len() == channels => Ok(bias.iter().map(|bias| beta * bias).collect()),
            _ => Err(Fault::at(
                node,
                format!("its bias `{name}` is not one constant per output"),
                "use a constant bias; a mixed bias belongs to a mixed matrix",
            )),
        }
    }
}
