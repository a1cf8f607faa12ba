//! Which operators are understood, and what to use in place of the others.

/// Operators that become layers, or that may stand between a routing and a kernel or between pool and logits,
/// where they are evaluated.
const KNOWN: [&str; 42] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Einsum",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "Pow",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Transpose",
    "Unsqueeze",
    "Where",
];

pub(super) fn is_known(operator: &str, domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx") && KNOWN.binary_search(&operator).is_ok()
}

/// The nearest supported form of an operator that is not, or not where it stands.
pub(super) fn remedy(operator: &str) -> &'static str {
    match operator {
        "HardSwish" | "HardSigmoid" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Celu" | "Gelu" | "Mish"
        | "Swish" | "Softplus" | "Softsign" | "Tanh" | "ThresholdedRelu" | "Erf" | "Exp" => {
            "use ReLU, ReLU6 or another Clip as activation"
        }
        "Sigmoid" => {
            "a sigmoid is supported as routing function only: end the network at the logits, and use ReLU or ReLU6 as \
             activation (no SiLU, no squeeze-and-excitation)"
        }
        "Softmax" | "LogSoftmax" | "Hardmax" | "ArgMax" | "TopK" => {
            "end the network at the logits: the largest is the class, and the library has a softmax for them"
        }
        "MaxPool" | "AveragePool" | "LpPool" | "GlobalMaxPool" | "ReduceMax" | "ReduceMean" => {
            "use a strided convolution, or the global average pool over height and width"
        }
        "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" | "If" => {
            "recurrent layers and control flow are not supported: use convolutions over time"
        }
        "ConvTranspose" | "Resize" | "Upsample" | "DepthToSpace" | "GridSample" => {
            "upsampling is not supported: use Conv with a stride of 1 or more"
        }
        "LayerNormalization" | "InstanceNormalization" | "GroupNormalization" | "LRN" | "LpNormalization" => {
            "use BatchNormalization, which is folded into the layer before it"
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "ConvInteger"
        | "QLinearMatMul"
        | "MatMulInteger" => "export the float network: the converter quantises it itself",
        "Add" | "Sub" | "Concat" | "Mul" | "Div" | "Sum" | "Max" | "Min" => {
            "supported are a constant per channel, and the bias of a CondConv: a network must be one chain of \
             layers without skip connections, SiLU or squeeze-and-excitation"
        }
        "Reshape" | "Transpose" | "Slice" | "Split" | "Gather" | "Expand" | "Flatten" | "Squeeze"
        | "Unsqueeze" => {
            "supported where it only renames or reorders all elements: keep maps as NxCxHxW until they are \
             flattened for a fully connected layer"
        }
        _ => {
            "supported layers are Conv, Gemm, MatMul, BatchNormalization, Relu, Clip, global average pool, Flatten, \
             and CondConv routed by a sigmoid"
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_operators_are_sorted() {
        assert!(super::KNOWN.is_sorted());
    }
}
