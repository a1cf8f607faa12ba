//! Reads ONNX files.
//!
//! A CondConv is recognised by what its graph computes, not by how it is written: the part between the routing
//! weights and a convolution's kernel is evaluated where all weights are zero, where one of them is one, and at a
//! random point, which yields the experts and proves that the kernel is linear in the weights.
//!
//! The file is read in these steps: `wire` checks the framing, `source` the graph; `trace` runs it once for all
//! shapes and constants; `import` walks over the nodes and gives each value a meaning, adding layers as it goes.

mod absorb;
mod argmax;
mod auto_pad;
mod blend;
mod combine;
mod conv;
mod engine;
mod error;
mod expand;
mod fold;
mod guard;
mod import;
mod linear;
mod meaning;
mod node;
mod operators;
mod pointwise;
mod pool;
mod probe;
mod prune;
mod rename;
mod routing;
mod several;
mod source;
mod tensor;
mod trace;
mod view;
mod wire;

use std::path::Path;
use std::sync::Arc;

pub(crate) use engine::{Engine, floats};
pub use error::ImportError;

use crate::graph::Network;
use error::Fault;
use import::{Importer, Reordered};
use source::Source;
use trace::Trace;
use view::View;

/// Larger files are refused unread.
const MAX_FILE: u64 = 1 << 30;

/// What was read from a file: the network, and what is needed to run the original.
#[derive(Debug)]
pub struct Import {
    /// The network.
    pub network: Network,
    /// Dimensions of the input in the file, its batch of 1 included.
    pub input_dims: Vec<usize>,
    pub(crate) input_name: String,
    /// Where each element of the input in NHWC order is in the file's order.
    pub(crate) input_order: Arc<[usize]>,
    pub(crate) engine: Arc<Engine>,
}

/// Reads a network from an ONNX file.
///
/// # Errors
///
/// [`ImportError`] names the file, the node, what is wrong and what to do.
pub fn load(path: &Path) -> Result<Import, ImportError> {
    read(path).and_then(|bytes| parse(&bytes)).map_err(|fault| ImportError::new(path, fault))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable =
        |error: std::io::Error| Fault::new(format!("cannot be read ({error})"), "check the path");
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(Fault::new(
            "is larger than 1 GiB",
            "a network for a microcontroller must be far smaller",
        ));
    }
    std::fs::read(path).map_err(unreadable)
}

fn parse(bytes: &[u8]) -> Result<Import, Fault> {
    let mut source = Source::parse(bytes)?;
    let mut engine = evaluator(&source)?;
    let trace = Trace::run(&source, &engine)?;
    if auto_pad::resolve(&mut source, &trace) {
        engine = evaluator(&source)?;
    }
    let (network, reordered, view) = import(&source, &trace, &engine)?;
    if !reordered.is_empty() {
        source.reorder(reordered);
        engine = evaluator(&source)?;
    }
    Ok(Import {
        network,
        input_order: view.positions().into(),
        input_dims: source.input_dims,
        input_name: source.input,
        engine: Arc::new(engine),
    })
}

/// Imports the graph, its input taken for the first map that fits.
fn import(source: &Source, trace: &Trace, engine: &Engine) -> Result<(Network, Vec<Reordered>, View), Fault> {
    let mut first = None;
    for view in View::candidates(source, trace, engine) {
        match Importer::new(source, trace, engine).network(&view) {
            Ok((network, reordered)) => return Ok((network, reordered, view)),
            // A fault of another kind has more to say.
            Err(fault)
                if first.as_ref().is_none_or(|first: &Fault| first.is_of_order() && !fault.is_of_order()) =>
            {
                first = Some(fault);
            }
            Err(_) => {}
        }
    }
    Err(first.unwrap_or_else(|| {
        let reason = format!("the input has the shape {:?}", source.input_dims);
        Fault::new(reason, "export with an input of 1xCxHxW or 1xHxWxC")
    }))
}

fn evaluator(source: &Source) -> Result<Engine, Fault> {
    let error = match Engine::load(source.encode()?, source.nodes.len()) {
        Ok(engine) => return Ok(engine),
        Err(error) => error,
    };
    for node in &source.nodes {
        if let Err(error) = Engine::load(source.encode_node(node)?, 1) {
            return Err(trace::not_evaluated(node, &error));
        }
    }
    Err(Fault::new(format!("cannot be evaluated: {error}"), "check it with onnx.checker"))
}
