//! As much of the Thumb instruction set (ARMv6-M to ARMv8.1-M) as counting loads, stores and cycles takes.

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Its length in bytes, 2 or 4.
    pub size: u64,
    /// What it does.
    pub class: Class,
}

/// What an instruction does, as far as its cost goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Loads one register, of a vector or floating-point unit too.
    Load,
    /// Loads that many registers (LDM, POP, LDRD, VLDM).
    LoadMultiple(u32),
    /// Stores one register.
    Store,
    /// Stores that many registers.
    StoreMultiple(u32),
    /// Multiplies integers, with or without accumulation.
    Multiply,
    /// Divides integers.
    Divide,
    /// Branches, to an address that is known unless a register holds it. Conditional ones have theirs left out.
    Branch(Option<u64>),
    /// Anything else.
    Other,
}

impl Instruction {
    /// Decodes the instruction at an address, of which `code` begins with the bytes; `None` if they are too few.
    #[must_use]
    pub fn decode(code: &[u8], address: u64) -> Option<Self> {
        let half_word = |at: usize| {
            let bytes = code.get(at..at + 2)?;
            Some(u32::from(bytes[0]) | u32::from(bytes[1]) << 8)
        };
        let first = half_word(0)?;
        if first >> 11 < 0b11101 {
            return Some(Self { size: 2, class: narrow(first, address) });
        }
        Some(Self { size: 4, class: wide(first, half_word(2)?, address) })
    }
}

/// The bits `high..=low` of a half-word.
fn bits(half_word: u32, high: u32, low: u32) -> u32 {
    half_word >> low & ((1 << (high - low + 1)) - 1)
}

fn sign_extended(value: u32, bits: u32) -> i64 {
    i64::from((value << (32 - bits)).cast_signed() >> (32 - bits))
}

fn load_or_store(load: bool) -> Class {
    if load { Class::Load } else { Class::Store }
}

fn multiple(load: bool, registers: u32) -> Class {
    if load { Class::LoadMultiple(registers) } else { Class::StoreMultiple(registers) }
}

/// Instructions of 16 bits.
fn narrow(code: u32, address: u64) -> Class {
    match bits(code, 15, 11) {
        0b01000 => match bits(code, 10, 6) {
            0b01101 => Class::Multiply,
            // BX, BLX; ADD and MOV to the program counter.
            0b11100..=0b11111 => Class::Branch(None),
            0b10010 | 0b10011 | 0b11010 | 0b11011 if bits(code, 2, 0) == 7 => Class::Branch(None),
            _ => Class::Other,
        },
        0b01001 => Class::Load,
        // With a register offset.
        0b01010 | 0b01011 => load_or_store(bits(code, 11, 9) >= 0b011),
        // With an immediate offset, and relative to the stack pointer.
        0b01100..=0b10011 => load_or_store(bits(code, 11, 11) == 1),
        0b10110 | 0b10111 => {
            let registers = bits(code, 8, 0).count_ones();
            match (bits(code, 11, 9), bits(code, 10, 10), bits(code, 8, 8)) {
                (0b010, ..) => Class::StoreMultiple(registers),
                (0b110, ..) => Class::LoadMultiple(registers),
                // CBZ, CBNZ.
                (_, 0, 1) => Class::Branch(None),
                (_, _, 1) if bits(code, 11, 8) == 0b1001 || bits(code, 11, 8) == 0b1011 => {
                    Class::Branch(None)
                }
                _ => Class::Other,
            }
        }
        0b11000 => Class::StoreMultiple(bits(code, 7, 0).count_ones()),
        0b11001 => Class::LoadMultiple(bits(code, 7, 0).count_ones()),
        // The last two are UDF and SVC.
        0b11010 | 0b11011 if bits(code, 11, 8) < 0b1110 => Class::Branch(None),
        0b11100 => Class::Branch(Some(target(address, sign_extended(bits(code, 10, 0) << 1, 12)))),
        _ => Class::Other,
    }
}

/// Instructions of 32 bits.
fn wide(first: u32, second: u32, address: u64) -> Class {
    match bits(first, 15, 9) {
        0b111_0100 if bits(first, 6, 6) == 0 => load_or_store_multiple(first, second),
        0b111_0100 => load_or_store_dual(first, second),
        0b111_0110 | 0b111_1110 => coprocessor_memory(first, second),
        0b111_1000..=0b111_1011 if bits(second, 15, 15) == 1 => branch(first, second, address),
        0b111_1100 => {
            let load = bits(first, 4, 4) == 1;
            // Hints to load into a cache have the program counter as their register.
            let hint = load && bits(first, 6, 5) < 0b10 && bits(second, 15, 12) == 15;
            if hint { Class::Other } else { load_or_store(load) }
        }
        0b111_1101 if bits(first, 8, 7) == 0b10 => Class::Multiply,
        0b111_1101 if bits(first, 8, 7) == 0b11 => {
            let divides = matches!(bits(first, 6, 4), 0b001 | 0b011) && bits(second, 7, 4) == 0b1111;
            if divides { Class::Divide } else { Class::Multiply }
        }
        _ => Class::Other,
    }
}

fn load_or_store_multiple(first: u32, second: u32) -> Class {
    let load = bits(first, 4, 4) == 1;
    let before = bits(first, 8, 7);
    // CLRM clears registers and has the form of a load by the program counter.
    if !matches!(before, 0b01 | 0b10) || (load && bits(first, 3, 0) == 15) {
        return Class::Other;
    }
    multiple(load, second.count_ones())
}

/// LDRD, STRD, exclusive accesses and table branches.
fn load_or_store_dual(first: u32, second: u32) -> Class {
    let load = bits(first, 4, 4) == 1;
    if bits(first, 8, 8) == 1 || bits(first, 5, 5) == 1 {
        // SG, which has the form of a load to the program counter.
        return if first == 0xe97f && second == 0xe97f { Class::Other } else { multiple(load, 2) };
    }
    match (bits(first, 7, 7), load, bits(second, 7, 4)) {
        // TT asks about an address; LDREX and STREX have no register in its place.
        (0, false, _) if bits(second, 15, 12) == 15 => Class::Other,
        (0, ..) => load_or_store(load),
        // A table branch loads the distance.
        (_, true, 0b0000 | 0b0001) => Class::Load,
        _ => load_or_store(load),
    }
}

/// Branches of 32 bits, and what shares their code.
fn branch(first: u32, second: u32, address: u64) -> Class {
    match (bits(second, 14, 14), bits(second, 12, 12)) {
        // Conditional; the rest are moves to special registers, barriers and hints.
        (0, 0) if bits(first, 9, 7) != 0b111 => Class::Branch(None),
        (0, 0) => Class::Other,
        (_, 1) => {
            let [sign, j1, j2] = [bits(first, 10, 10), bits(second, 13, 13), bits(second, 11, 11)];
            let inverted = |j: u32| j ^ sign ^ 1;
            let high = (sign << 2 | inverted(j1) << 1 | inverted(j2)) << 21;
            let offset = high << 1 | bits(first, 9, 0) << 12 | bits(second, 10, 0) << 1;
            Class::Branch(Some(target(address, sign_extended(offset, 25))))
        }
        // DLS and LCTP only set a hardware loop up; WLS and LE are its ends.
        _ if bits(second, 13, 13) == 1 => Class::Other,
        _ => Class::Branch(None),
    }
}

/// Loads and stores of the floating-point and vector units.
fn coprocessor_memory(first: u32, second: u32) -> Class {
    let load = bits(first, 4, 4) == 1;
    let [before, add, write_back] = [8, 7, 5].map(|bit| bits(first, bit, bit));
    match bits(second, 11, 8) {
        // Floating point.
        0b1001..=0b1011 if bits(first, 15, 12) == 0b1110 => match (before, add, write_back) {
            (0, 0, _) => Class::Other, // moves between registers
            (1, _, 0) => load_or_store(load),
            _ => multiple(load, bits(second, 7, 0)),
        },
        // Vectors.
        0b1110 | 0b1111 => {
            let moves = bits(first, 15, 12) == 0b1110 && (before, add, write_back) == (0, 0, 0);
            if moves { Class::Other } else { load_or_store(load) }
        }
        _ => Class::Other,
    }
}

fn target(address: u64, offset: i64) -> u64 {
    address.wrapping_add(4).wrapping_add_signed(offset)
}
