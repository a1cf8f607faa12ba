//! A check of the protobuf framing before anything is decoded: the decoder believes the lengths that a file
//! states, so that a broken one would make it allocate without bounds or recurse without end.

/// Messages that the decoder enters.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    SequenceType,
    Shape,
    Leaf,
}

impl Message {
    /// The message held by a field, by the numbers of `onnx.proto`.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6) => Self::Graph,
            (Self::Model, 8 | 14) | (Self::Tensor, 13) | (Self::Shape, 1) => Self::Leaf,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::SequenceType, 1) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::Type, 4) => Self::SequenceType,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }
}

/// Model, graph, node, attribute, tensor and so on: a network needs no more levels.
const MAX_DEPTH: usize = 12;

/// Whether every field of a model, at every level, lies within the message that holds it.
pub(super) fn is_well_formed(model: &[u8]) -> bool {
    check(model, Message::Model, 0).is_some()
}

fn check(mut bytes: &[u8], message: Message, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => {
                take(&mut bytes, 8)?;
            }
            2 => {
                let length = varint(&mut bytes)?;
                let content = take(&mut bytes, length)?;
                if let Some(inner) = message.field(tag >> 3) {
                    check(content, inner, depth + 1)?;
                }
            }
            5 => {
                take(&mut bytes, 4)?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (shift < 63 || byte <= 1).then_some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (content, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::is_well_formed;

    #[test]
    fn lengths_must_fit() {
        assert!(is_well_formed(&[0x08, 0x08, 0x3a, 2, 0x0a, 0]));
        assert!(!is_well_formed(&[0x08, 0x08, 0x3a, 3, 0x0a, 0]), "graph longer than the file");
        assert!(!is_well_formed(&[0x3a, 2, 0x0a, 1]), "node longer than the graph");
        assert!(!is_well_formed(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]));
        assert!(!is_well_formed(&[0x0b]), "groups are not used by ONNX");
    }

    #[test]
    fn nesting_is_bounded() {
        let mut bytes = Vec::new();
        for level in 0..60 {
            // Graph, node, attribute, graph, node, ...
            let tag = [0x32, 0x2a, 0x0a][level % 3];
            bytes = [&[tag, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat();
        }
        let model = [&[0x3a, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat();
        assert!(!is_well_formed(&model));
    }
}
