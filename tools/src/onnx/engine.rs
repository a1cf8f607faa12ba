//! Evaluation of a graph, or any part of it, in float.

use std::sync::Arc;

use rten::{Model, ModelOptions, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;

thread_local! {
    /// One pool a thread, so that each run takes one thread and the order of its sums does not depend on how many
    /// runs there are at a time.
    static SINGLE: Arc<ThreadPool> = Arc::new(ThreadPool::with_num_threads(1));
}

/// A graph ready to run. Any of its values can be input or output.
#[derive(Debug)]
pub(crate) struct Engine(Model);

impl Engine {
    /// Loads an encoded graph.
    pub(super) fn load(onnx: Vec<u8>) -> Result<Self, String> {
        // Optimisation would remove the intermediate values that are asked for later.
        let model = ModelOptions::with_all_ops().enable_optimization(false).load(onnx);
        model.map(Self).map_err(|error| error.to_string())
    }

    /// Computes the values `wanted` from those given.
    pub(crate) fn run(&self, given: &[(&str, ValueView)], wanted: &[&str]) -> Result<Vec<Value>, String> {
        let id = |name: &str| self.0.node_id(name).map_err(|error| error.to_string());
        let inputs: Result<Vec<_>, String> =
            given.iter().map(|(name, view)| Ok((id(name)?, ValueOrView::from(view.clone())))).collect();
        let outputs: Vec<_> = wanted.iter().map(|name| id(name)).collect::<Result<_, _>>()?;
        let options = RunOptions::default().with_thread_pool(Some(SINGLE.with(Arc::clone)));
        self.0.run(inputs?, &outputs, Some(options)).map_err(|error| error.to_string())
    }
}

/// The numbers of a float tensor in row-major order.
pub(crate) fn floats(value: &Value) -> Option<Vec<f32>> {
    value.as_tensor_view::<f32>().map(|view| view.to_vec())
}
