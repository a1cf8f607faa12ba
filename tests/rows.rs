//! Layers of one row give the bits of the whole layer, and a schedule keeps the rows that are needed and no others.

mod drawn;
mod integer;

use std::fmt::Debug;

use condconv::{
    Add, AveragePool2d, ConcatPart, Conv2d, DepthwiseConv2d, Geometry, LayerError, MaxPool2d, Mul, Operand,
    Padding, Requantize, RowSchedule, RowTensor, RowWindow, Shape, Window,
};
use drawn::{Number, check};
use integer::Fixed;
use proptest::collection::vec;
use proptest::prelude::*;

type Outcome = Result<(), TestCaseError>;

/// Compares all rows that are computed from some row.
fn agree<X: Number + PartialEq>(
    geometry: &Geometry,
    input: &[X],
    expected: &[X],
    infer_row: impl Fn(usize, &[X], &mut [X]),
) -> Outcome {
    let [row_len, output_len] =
        [geometry.input(), geometry.output()].map(|shape| shape.width * shape.channels);
    for (y, expected) in expected.chunks(output_len).enumerate() {
        let rows = geometry.row_window().rows(y);
        if rows.is_empty() {
            continue;
        }
        let mut output = vec![X::saturate(77); output_len];
        infer_row(y, &input[rows.start * row_len..rows.end * row_len], &mut output);
        prop_assert_eq!(&output, expected, "row {}", y);
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Case<X> {
    geometry: Geometry,
    input: Vec<X>,
    zero_point: i32,
    kernels: Fixed,
    output: integer::Output,
}

fn cases<X: Number>(geometries: impl Strategy<Value = Geometry>) -> impl Strategy<Value = Case<X>> {
    geometries.prop_flat_map(|geometry| {
        let channels = geometry.output().channels;
        let numbers = (drawn::elements(geometry.input().len()), drawn::zero_point::<X>());
        let layer = (drawn::fixed(channels, geometry.kernel_len()), drawn::output::<X>(channels));
        (numbers, layer).prop_map(move |((input, zero_point), (kernels, output))| Case {
            geometry,
            input,
            zero_point,
            kernels,
            output,
        })
    })
}

fn convolutions<X: Number + PartialEq>(geometries: impl Strategy<Value = Geometry>) {
    check(300, &cases::<X>(geometries), |Case { geometry, input, zero_point, kernels, output }| {
        let mut expected = vec![X::default(); geometry.output().len()];
        let layer = Conv2d::<X, X>::new(geometry, zero_point, kernels.view(), output.view()).unwrap();
        for words in [layer.scratch_words(), geometry.scratch_words(geometry.output().channels)] {
            let mut scratch = vec![-1; words.max(layer.scratch_words())];
            layer.infer(&input, &mut scratch, &mut expected);
            agree(&geometry, &input, &expected, |y, rows, output| {
                layer.infer_row(y, rows, &mut vec![-1; words.max(layer.scratch_words())], output);
            })?;
        }
        Ok(())
    });
}

fn depthwise<X: Number + PartialEq>(geometries: impl Strategy<Value = Geometry>) {
    check(300, &cases::<X>(geometries), |Case { geometry, input, zero_point, kernels, output }| {
        let mut expected = vec![X::default(); geometry.output().len()];
        let layer =
            DepthwiseConv2d::<X, X>::new(geometry, zero_point, kernels.view(), output.view()).unwrap();
        for words in [layer.scratch_words(), geometry.depthwise_scratch_words(geometry.output().channels)] {
            layer.infer(&input, &mut vec![-1; words], &mut expected);
            agree(&geometry, &input, &expected, |y, rows, output| {
                layer.infer_row(y, rows, &mut vec![-1; words], output);
            })?;
        }

        // Pools have the same windows.
        let (shape, window) = (geometry.input(), geometry.window());
        let Ok(pool) = MaxPool2d::<X>::new(shape, window) else { return Ok(()) };
        pool.infer(&input, &mut expected);
        agree(&geometry, &input, &expected, |y, rows, output| pool.infer_row(y, rows, output))?;
        let multipliers: Vec<i32> = (1..=window.taps() as i32).map(|taps| (1 << 24) / taps).collect();
        let requantize = Requantize::new(&multipliers, zero_point, X::MIN, X::MAX).unwrap();
        let pool = AveragePool2d::<X, X>::new(shape, window, zero_point, 8, requantize).unwrap();
        pool.infer(&input, &mut expected);
        agree(&geometry, &input, &expected, |y, rows, output| pool.infer_row(y, rows, output))
    });
}

#[test]
fn rows_of_convolutions_and_pools() {
    convolutions::<i8>(drawn::geometry(false));
    convolutions::<i16>(drawn::geometry(false));
    convolutions::<i8>(drawn::vectors(false));
    depthwise::<i8>(drawn::geometry(true));
    depthwise::<i16>(drawn::geometry(true));
    depthwise::<i8>(drawn::vectors(true));
}

#[test]
fn rows_of_sums_products_and_parts() {
    let shape = Shape::new(3, 5, 3);
    check(200, &vec((any::<i8>(), any::<i8>()), shape.len()), |pairs| {
        let (a, b): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
        let geometry = Geometry::new(shape, 3, Window::new([1, 1]), 3).unwrap();
        let row = |y: usize| y * 15..(y + 1) * 15;
        let mut expected = vec![0i8; shape.len()];
        let add = Add::<i8, i8, i8>::new(shape, Operand::new(5, 150), Operand::new(3, 200), 8, -5, -100, 120);
        let add = add.unwrap();
        add.infer(&a, &b, &mut expected);
        agree(&geometry, &a, &expected, |y, a, output| add.infer_row(a, &b[row(y)], output))?;

        let requantize = Requantize::new(&[1 << 25], -5, -100, 120).unwrap();
        let mul = Mul::<i8, i8, i8>::new(shape, 7, false, 3, requantize).unwrap();
        mul.infer(&a, &b, &mut expected);
        agree(&geometry, &a, &expected, |y, a, output| mul.infer_row(a, &b[row(y)], output))?;

        let mut expected = vec![77; 4 * 15];
        let part = ConcatPart::<i8, i8>::new(shape, 4, 1, Operand::new(0, 300), 8, 2).unwrap();
        part.infer(&a, &mut expected);
        let wider = Geometry::new(shape, 4, Window::new([1, 1]), 1).unwrap();
        agree(&wider, &a, &expected, |_, a, output| part.infer_row(a, output))
    });
}

/// Tensors of a schedule: the window over the tensor before, whether the tensor is the sum of that and another one of
/// the same height.
const TENSORS: usize = 6;

#[derive(Debug, Clone)]
struct Graph {
    heights: [usize; TENSORS],
    inputs: [Vec<(usize, RowWindow)>; TENSORS],
}

fn graphs() -> impl Strategy<Value = Graph> {
    let window = (1usize..=4, 1usize..=3, 1usize..=2, 0usize..=2, 0usize..=2);
    (1usize..=24, vec((window, 0usize..TENSORS, any::<bool>()), TENSORS - 1)).prop_map(|(height, layers)| {
        let mut heights = [height; TENSORS];
        let mut inputs: [Vec<(usize, RowWindow)>; TENSORS] = Default::default();
        for (number, ((kernel, stride, dilation, top, bottom), other, adds)) in (1..).zip(layers) {
            let from = other % number;
            let window = Window::new([kernel, 1])
                .stride([stride, 1])
                .dilation([dilation, 1])
                .padding(Padding::new(top, 0, bottom, 0));
            // Layers whose windows do not fit, or meet nothing but padding, are sums.
            let geometry = Geometry::new(Shape::new(heights[from], 1, 1), 1, window, 1)
                .ok()
                .filter(|g| (0..g.output().height).all(|y| !g.row_window().rows(y).is_empty()));
            let (height, window) = match geometry {
                Some(geometry) => (geometry.output().height, geometry.row_window()),
                None => (heights[from], RowWindow::same(heights[from])),
            };
            heights[number] = height;
            inputs[number].push((from, window));
            if adds && let Some(same) = (0..number).rev().find(|&n| heights[n] == height && n != from) {
                inputs[number].push((same, RowWindow::same(height)));
            }
        }
        Graph { heights, inputs }
    })
}

/// Computes rows by recursion, no earlier than they are needed: in which order, and how many rows of each tensor are needed at
/// a time at most, among them the one that is computed.
#[derive(Default)]
struct Recursion {
    made: [usize; TENSORS],
    order: Vec<(usize, usize)>,
    kept: [usize; TENSORS],
}

impl Recursion {
    fn compute(&mut self, graph: &Graph, tensor: usize) {
        let row = self.made[tensor];
        for (input, window) in &graph.inputs[tensor] {
            while self.made[*input] < window.rows(row).end {
                self.compute(graph, *input);
            }
        }
        let needed = (tensor + 1..TENSORS).flat_map(|reader| {
            let next = self.made[reader];
            let inputs = graph.inputs[reader].iter().filter(move |_| next < graph.heights[reader]);
            inputs.filter(|(input, _)| *input == tensor).map(move |(_, window)| window.rows(next).start)
        });
        let first = if tensor == TENSORS - 1 { 0 } else { needed.min().unwrap_or(row).min(row) };
        self.kept[tensor] = self.kept[tensor].max(row + 1 - first);
        self.order.push((tensor, row));
        self.made[tensor] += 1;
    }
}

/// A number that says from which rows a row was computed.
fn mixed<'a>(inputs: impl Iterator<Item = &'a u64>) -> u64 {
    inputs.fold(1, |all, x| (all ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

#[test]
fn schedules_keep_what_is_needed_and_no_more() {
    check(2000, &graphs(), |graph| {
        let mut recursion = Recursion::default();
        while recursion.made[TENSORS - 1] < graph.heights[TENSORS - 1] {
            recursion.compute(&graph, TENSORS - 1);
        }
        let schedule = |kept: [usize; TENSORS]| {
            RowSchedule::new(std::array::from_fn::<_, TENSORS, _>(|n| {
                RowTensor::new(graph.heights[n], kept[n], &graph.inputs[n])
            }))
        };
        let read: Vec<bool> = (0..TENSORS).map(|n| recursion.made[n] > 0).collect();
        for tensor in (0..TENSORS).filter(|&n| read[n]) {
            let mut kept = recursion.kept;
            kept[tensor] -= 1;
            prop_assert_eq!(schedule(kept).err(), Some(LayerError::Rows), "tensor {}", tensor);
        }

        for more in 0..3 {
            let kept = std::array::from_fn(|n| recursion.kept[n] + if n < TENSORS - 1 { more } else { 0 });
            let schedule = schedule(kept).unwrap();
            let mut order = Vec::new();
            let mut buffers = kept.map(|rows| vec![[0u64]; rows]);
            let mut progress = schedule.start();
            while let Some(step) = schedule.next(&mut progress) {
                order.push((step.tensor, step.row));
                let inputs = graph.inputs[step.tensor].iter().flat_map(|(input, window)| {
                    progress.input(*input, window.rows(step.row), &buffers[*input])
                });
                let row = if step.tensor == 0 { step.row as u64 } else { mixed(inputs) };
                *step.output(&mut buffers[step.tensor]) = [row];
            }
            prop_assert_eq!(&order, &recursion.order);

            let mut whole: Vec<Vec<u64>> = vec![(0..graph.heights[0] as u64).collect()];
            for n in 1..TENSORS {
                let rows = (0..graph.heights[n]).map(|y| {
                    mixed(graph.inputs[n].iter().flat_map(|(input, window)| &whole[*input][window.rows(y)]))
                });
                let rows = rows.collect();
                whole.push(rows);
            }
            prop_assert_eq!(buffers[TENSORS - 1].as_flattened(), &whole[TENSORS - 1]);
        }
        Ok(())
    });
}

#[test]
fn what_is_no_schedule_is_refused() {
    let same = [(0, RowWindow::same(4))];
    let refused = |tensors| RowSchedule::<'_, 2>::new(tensors).err();
    let input = RowTensor::new(4, 1, &[]);
    assert_eq!(refused([input, RowTensor::new(4, 4, &same)]), None);
    assert_eq!(refused([input, RowTensor::new(4, 3, &same)]), Some(LayerError::Rows));
    assert_eq!(refused([input, RowTensor::new(5, 5, &same)]), Some(LayerError::Rows));
    assert_eq!(refused([RowTensor::new(3, 1, &[]), RowTensor::new(4, 4, &same)]), Some(LayerError::Rows));
    assert_eq!(refused([input, RowTensor::new(0, 1, &same)]), Some(LayerError::ZeroDimension));
    let itself = [(1, RowWindow::same(4))];
    assert_eq!(refused([input, RowTensor::new(4, 4, &itself)]), Some(LayerError::Rows));
}
