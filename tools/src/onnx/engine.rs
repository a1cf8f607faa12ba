//! Evaluation of a graph, or any part of it, in float.

use std::sync::Arc;

use rten::{Model, ModelOptions, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;

thread_local! {
    /// One pool a thread, so that each run takes one thread and the order of its sums does not depend on how many
    /// runs there are at a time.
    static SINGLE: Arc<ThreadPool> = Arc::new(ThreadPool::with_num_threads(1));
}

/// The evaluator plans by recursion, a level for each node in a row, of nearly 500 bytes.
const STACK_A_NODE: usize = 1024;

/// What the evaluator needs of the stack beside that.
const STACK: usize = 256 * 1024;

/// A graph ready to run. Any of its values can be input or output.
#[derive(Debug)]
pub(crate) struct Engine {
    model: Model,
    /// Bytes of stack that a run may need: more than a thread has, in long graphs.
    stack: usize,
}

impl Engine {
    /// Loads an encoded graph of as many nodes as given.
    pub(super) fn load(onnx: Vec<u8>, nodes: usize) -> Result<Self, String> {
        // Optimisation would remove the intermediate values that are asked for later.
        let model = ModelOptions::with_all_ops().enable_optimization(false).load(onnx);
        let stack = STACK + nodes * STACK_A_NODE;
        model.map(|model| Self { model, stack }).map_err(|error| error.to_string())
    }

    /// Computes the values `wanted` from those given.
    pub(crate) fn run(&self, given: &[(&str, ValueView)], wanted: &[&str]) -> Result<Vec<Value>, String> {
        let id = |name: &str| self.model.node_id(name).map_err(|error| error.to_string());
        let inputs: Result<Vec<_>, String> =
            given.iter().map(|(name, view)| Ok((id(name)?, ValueOrView::from(view.clone())))).collect();
        let outputs: Vec<_> = wanted.iter().map(|name| id(name)).collect::<Result<_, _>>()?;
        let options = RunOptions::default().with_thread_pool(Some(SINGLE.with(Arc::clone)));
        let inputs = inputs?;
        let run = || self.model.run(inputs, &outputs, Some(options));
        stacker::maybe_grow(self.stack, self.stack, run).map_err(|error| error.to_string())
    }
}

/// The numbers of a float tensor in row-major order.
pub(crate) fn floats(value: &Value) -> Option<Vec<f32>> {
    value.as_tensor_view::<f32>().map(|view| view.to_vec())
}
