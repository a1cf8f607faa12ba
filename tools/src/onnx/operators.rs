//! Which operators are understood, and what to use in place of the others.

/// Operators that become layers, or that may stand between a routing and a kernel or between pool and logits,
/// where they are evaluated.
const KNOWN: [&str; 72] = [
    "Abs",
    "Add",
    "And",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

pub(super) fn is_known(operator: &str) -> bool {
    KNOWN.binary_search(&operator).is_ok()
}

/// The nearest supported form of an operator that is not, or not where it stands.
pub(super) fn remedy(operator: &str) -> &'static str {
    match operator {
        "PRelu" | "Selu" | "Celu" | "Mish" | "Softsign" | "ThresholdedRelu" | "Erf" | "Exp" | "Log"
        | "Abs" | "Pow" | "Sqrt" | "Neg" | "Reciprocal" | "Softplus" | "Elu" | "Gelu" | "Swish" | "Tanh"
        | "HardSwish" | "HardSigmoid" | "LeakyRelu" | "Where" | "Sign" | "Floor" | "Ceil" | "Round" => {
            "supported activations are ReLU, ReLU6 and other clamps, LeakyReLU (or PReLU with one slope), ELU, HardSigmoid, \
             HardSwish, Sigmoid, SiLU, Softplus, Mish, Tanh and GELU, each of one tensor"
        }
        "Sigmoid" => "a sigmoid is supported as activation and as the routing function of a CondConv",
        "Softmax" | "LogSoftmax" | "Hardmax" | "ArgMax" | "TopK" => {
            "end the network at the scores, or at a softmax or an ArgMax over all of them: the largest is the class"
        }
        "MaxPool" | "AveragePool" | "LpPool" | "GlobalLpPool" | "GlobalMaxPool" | "GlobalAveragePool"
        | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" | "ReduceProd" | "ReduceL1" | "ReduceL2"
        | "ReduceLogSumExp" | "ReduceSumSquare" => {
            "supported are MaxPool and AveragePool of a map, and the mean or the largest over height, width or both \
             (GlobalAveragePool, GlobalMaxPool, ReduceMean, ReduceMax)"
        }
        "Gemm" | "MatMul" | "Einsum" => {
            "supported are Gemm and MatMul of a vector, or of the channels of each pixel, and a matrix that is constant or \
             mixed by routing weights; Einsum where it mixes experts, or applies a matrix to a vector"
        }
        "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" | "If" => {
            "recurrent layers and control flow are not supported: use convolutions over time"
        }
        "Attention" | "MultiHeadAttention" | "RotaryEmbedding" => {
            "attention is not supported: use convolutions, or squeeze-and-excitation"
        }
        "ConvTranspose" | "Resize" | "Upsample" | "DepthToSpace" | "GridSample" => {
            "upsampling is not supported: use Conv with a stride of 1 or more"
        }
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "RMSNormalization"
        | "MeanVarianceNormalization"
        | "LRN"
        | "LpNormalization" => "use BatchNormalization, which is folded into the layer before or after it",
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "ConvInteger"
        | "QLinearMatMul"
        | "MatMulInteger" => "export the float network: the converter quantises it itself",
        "Add" | "Sub" | "Concat" | "Mul" | "Div" | "Sum" | "Max" | "Min" => {
            "supported are a constant per channel, the bias of a CondConv, sum, difference and product of tensors of one \
             shape, a map times one number a channel (squeeze-and-excitation), and Concat along channels"
        }
        "Reshape" | "Transpose" | "Slice" | "Split" | "Gather" | "Expand" | "Flatten" | "Squeeze"
        | "Unsqueeze" => {
            "supported where it only renames or reorders all elements, not where it takes some of them: keep maps as \
             NxCxHxW until they are flattened for a fully connected layer"
        }
        _ => {
            "supported layers are Conv, Gemm, MatMul, BatchNormalization, pools, activations, Add, Mul, Concat, Pad, \
             Flatten, and CondConv routed by a sigmoid or softmax"
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
