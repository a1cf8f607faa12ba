//! Tensors as stored in the file: their data is checked here once, before anything computes with it.

use half::f16;
use rten_onnx::onnx::{AttributeProto, DataLocation, DataType, TensorProto};

/// 256 MiB of float32.
pub(super) const MAX_ELEMENTS: usize = 1 << 26;

/// Product of dimensions, where it is within [`MAX_ELEMENTS`].
pub(super) fn element_count(dims: impl IntoIterator<Item = usize>) -> Option<usize> {
    dims.into_iter()
        .try_fold(1, |product: usize, dim| product.checked_mul(dim))
        .filter(|&n| n <= MAX_ELEMENTS)
}

/// Why a tensor cannot be used, as (reason, remedy).
pub(super) type Complaint = (String, &'static str);

/// Checks all but the values: type, size, and that the data is there.
pub(super) fn check(tensor: &TensorProto) -> Result<(), Complaint> {
    if tensor.data_location == Some(DataLocation::EXTERNAL) || !tensor.external_data.is_empty() {
        return Err((
            "keeps its data in a separate file".into(),
            "export one file (external_data=False in torch.onnx.export)",
        ));
    }
    let typed = match tensor.data_type {
        Some(DataType::FLOAT) => (4, tensor.float_data.len()),
        Some(DataType::DOUBLE) => (8, tensor.double_data.len()),
        Some(DataType::FLOAT16) => (2, tensor.int32_data.len()),
        Some(DataType::INT64) => (8, tensor.int64_data.len()),
        Some(DataType::INT32) => (4, tensor.int32_data.len()),
        Some(DataType::BOOL | DataType::INT8 | DataType::UINT8) => (1, tensor.int32_data.len()),
        Some(other) => return Err((format!("has data type {other}"), "export the network in float32")),
        None => return Err(("has no data type".into(), "export the network again")),
    };
    if tensor.dims.iter().any(|&dim| dim < 0) {
        let reason = format!("has the shape {:?}, where no dimension may be negative", tensor.dims);
        return Err((reason, "the file is damaged: export the network again"));
    }
    let dims: Result<Vec<usize>, _> = tensor.dims.iter().map(|&dim| dim.try_into()).collect();
    let Some(elements) = dims.ok().and_then(element_count) else {
        return Err((
            format!("has the shape {:?}, larger than 256 MiB", tensor.dims),
            "a network for a microcontroller must be far smaller",
        ));
    };
    let (size, typed_elements) = typed;
    let whole = match &tensor.raw_data {
        Some(raw) => raw.borrow().len() == elements * size,
        None => typed_elements == elements,
    };
    if whole {
        Ok(())
    } else {
        Err((
            format!("holds less or more data than its shape {:?} asks for", tensor.dims),
            "the file is damaged: export the network again",
        ))
    }
}

/// A float that no weight may be, NaN or infinite, if there is one.
pub(super) fn not_finite(tensor: &TensorProto) -> Option<f64> {
    let raw = tensor.raw_data.as_ref().map(|raw| raw.borrow());
    let bad = |value: &f64| !value.is_finite();
    match (tensor.data_type, raw.as_deref()) {
        (Some(DataType::FLOAT), None) => tensor.float_data.iter().copied().map(f64::from).find(bad),
        (Some(DataType::FLOAT), Some(raw)) => {
            raw.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).find(bad)
        }
        (Some(DataType::DOUBLE), None) => tensor.double_data.iter().copied().find(bad),
        (Some(DataType::DOUBLE), Some(raw)) => {
            raw.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).find(bad)
        }
        (Some(DataType::FLOAT16), None) => {
            let bits = tensor.int32_data.iter().filter_map(|&bits| u16::try_from(bits).ok());
            bits.map(|bits| f16::from_bits(bits).to_f64()).find(bad)
        }
        (Some(DataType::FLOAT16), Some(raw)) => {
            raw.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f64()).find(bad)
        }
        _ => None,
    }
}

/// The tensor that a `Constant` node's attribute states, in any of its spellings.
pub(super) fn from_constant(attribute: &AttributeProto) -> Option<TensorProto> {
    let (data_type, dims) = match attribute.name.as_deref()? {
        "value" => return attribute.t.clone(),
        "value_float" => (DataType::FLOAT, vec![]),
        "value_floats" => (DataType::FLOAT, vec![attribute.floats.len()]),
        "value_int" => (DataType::INT64, vec![]),
        "value_ints" => (DataType::INT64, vec![attribute.ints.len()]),
        _ => return None,
    };
    let scalar = dims.is_empty();
    Some(TensorProto {
        float_data: if scalar { attribute.f.into_iter().collect() } else { attribute.floats.clone() },
        int64_data: if scalar { attribute.i.into_iter().collect() } else { attribute.ints.clone() },
        data_type: Some(data_type),
        dims: dims.into_iter().filter_map(|dim| i64::try_from(dim).ok()).collect(),
        ..TensorProto::default()
    })
}
