//! Small ONNX graphs, written by hand.

use std::cell::RefCell;

use condconv_tools::onnx::{Import, ImportError, load};
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

use crate::check;

/// A graph with the input `x` and, unless changed, the output `y`.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) graph: GraphProto,
    state: u64,
}

pub(crate) enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    String(&'a str),
}

impl Build {
    pub(crate) fn new(input: &[i64]) -> Self {
        let dim = |&size: &i64| Dimension { dim_value: Some(size), dim_param: None };
        let shape = TensorShapeProto { dim: input.iter().map(dim).collect() };
        let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(shape) };
        let of = TypeProto { tensor_type: Some(tensor), sequence: None };
        let graph = GraphProto {
            input: vec![ValueInfoProto { name: Some("x".into()), r#type: Some(of) }],
            output: vec![ValueInfoProto { name: Some("y".into()), r#type: None }],
            ..GraphProto::default()
        };
        Self { graph, state: 1 }
    }

    /// A tensor of random weights.
    pub(crate) fn weights(self, name: &str, dims: &[i64]) -> Self {
        let mut state = self.state;
        let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
        let weights: Vec<f32> = (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        Self { state, ..self }.floats(name, dims, &weights)
    }

    pub(crate) fn floats(self, name: &str, dims: &[i64], floats: &[f32]) -> Self {
        self.tensor(name, DataType::FLOAT, dims, floats.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    pub(crate) fn ints(self, name: &str, ints: &[i64]) -> Self {
        let dims = [i64::try_from(ints.len()).unwrap()];
        self.tensor(name, DataType::INT64, &dims, ints.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn tensor(mut self, name: &str, of: DataType, dims: &[i64], data: Vec<u8>) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims: dims.to_vec(),
            data_type: Some(of),
            raw_data: Some(RefCell::new(data)),
            ..TensorProto::default()
        });
        self
    }

    /// Adds a node that reads and yields the values named, separated by spaces.
    pub(crate) fn node(self, op: &str, inputs: &str, outputs: &str) -> Self {
        self.node_with(op, inputs, outputs, &[])
    }

    pub(crate) fn node_with(
        mut self,
        op: &str,
        inputs: &str,
        outputs: &str,
        attributes: &[(&str, Attribute<'_>)],
    ) -> Self {
        let list = |names: &str| names.split(' ').map(|name| name.trim_matches('_').to_string()).collect();
        let attribute = |(name, value): &(&str, Attribute<'_>)| {
            let mut attribute = AttributeProto { name: Some((*name).into()), ..AttributeProto::default() };
            attribute.r#type = Some(match value {
                Attribute::Int(_) => AttributeType::INT,
                Attribute::Ints(_) => AttributeType::INTS,
                Attribute::Float(_) => AttributeType::FLOAT,
                Attribute::String(_) => AttributeType::STRING,
            });
            match *value {
                Attribute::Int(i) => attribute.i = Some(i),
                Attribute::Ints(ints) => attribute.ints = ints.to_vec(),
                Attribute::Float(f) => attribute.f = Some(f),
                Attribute::String(s) => attribute.s = Some(s.into()),
            }
            attribute
        };
        self.graph.node.push(NodeProto {
            op_type: Some(op.into()),
            input: list(inputs),
            output: list(outputs),
            attribute: attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        self
    }

    pub(crate) fn load(self) -> Result<Import, ImportError> {
        let opset = OperatorSetIdProto { domain: None, version: Some(18) };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![opset],
            ..ModelProto::default()
        };
        load_bytes(&model.write_buf().expect("the model is encoded"))
    }

    /// Imports the graph, and checks that the network computes what the graph does.
    pub(crate) fn import(self) -> Import {
        let import = self.load().unwrap_or_else(|error| panic!("{error}"));
        let count: usize = import.input_dims.iter().product();
        let input: Vec<f32> = (0..count).map(|index| ((index * 37 % 101) as f32 - 50.0) / 50.0).collect();
        check::compare(&import, &input);
        import
    }

    /// The error by which the graph is refused.
    pub(crate) fn refused(self) -> ImportError {
        self.load().expect_err("the graph is to be refused")
    }
}

/// Imports a file of the content given.
pub(crate) fn load_bytes(bytes: &[u8]) -> Result<Import, ImportError> {
    let file = tempfile::NamedTempFile::with_suffix(".onnx").expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("the file is written");
    load(file.path())
}
