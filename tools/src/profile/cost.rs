//! What executed instructions cost.

use std::ops::{AddAssign, Sub};

use serde::Serialize;

use super::thumb::{Class, Instruction};
use crate::emulate::{Code, Executed, Segment};

/// The cost of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Executed instructions.
    pub instructions: u64,
    /// Registers that were loaded.
    pub loads: u64,
    /// Registers that were stored.
    pub stores: u64,
    /// Cycles of a Cortex-M4 whose memory never makes it wait, an estimate.
    pub cycles_estimated: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.loads += other.loads;
        self.stores += other.stores;
        self.cycles_estimated += other.cycles_estimated;
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, part: Self) -> Self {
        Self {
            instructions: self.instructions - part.instructions,
            loads: self.loads - part.loads,
            stores: self.stores - part.stores,
            cycles_estimated: self.cycles_estimated - part.cycles_estimated,
        }
    }
}

impl Cost {
    /// The cost of what ran, without the calls that mark its ends.
    #[must_use]
    pub fn of(segment: &Segment, code: &Code) -> Self {
        let mut cost = Self::default();
        // The end of the instruction before, if it was a load of one register.
        let mut load_end = None;
        for &Executed { address, count, left } in &segment.executed {
            let instruction = code
                .from(address)
                .and_then(|bytes| Instruction::decode(bytes, address))
                .unwrap_or_else(|| unreachable!("the plugin counts inside the code"));
            let marks = instruction.class == Class::Branch(Some(code.mark.start));
            if marks || code.mark.contains(&address) {
                continue;
            }
            let after_load = load_end == Some(address);
            load_end = (instruction.class == Class::Load).then_some(address + instruction.size);
            cost += instruction.class.cost(count, left, after_load);
        }
        cost
    }
}

impl Class {
    /// The cost of running an instruction `count` times, of which another than the next one followed `left` times.
    /// Cycles by the Cortex-M4's technical reference manual, section 3.3, where it gives a range (branches 2 to 4,
    /// divisions 2 to 12) the middle.
    fn cost(self, count: u64, left: u64, after_load: bool) -> Cost {
        let (loads, stores, cycles) = match self {
            Self::Load => (1, 0, if after_load { 1 } else { 2 }),
            Self::LoadMultiple(registers) => (registers.into(), 0, 1 + u64::from(registers)),
            Self::Store => (0, 1, 1),
            Self::StoreMultiple(registers) => (0, registers.into(), 1 + u64::from(registers)),
            Self::Divide => (0, 0, 7),
            Self::Multiply | Self::Branch(_) | Self::Other => (0, 0, 1),
        };
        Cost {
            instructions: count,
            loads: count * loads,
            stores: count * stores,
            cycles_estimated: count * cycles + 2 * left,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::emulate::Function;

    /// `ldr r0, [r1]; ldr r2, [r3]; ldm r4!, {r5, r6}; bl mark; udiv r0, r0, r2; mla r0, r1, r2, r3; str r0, [r1];
    /// pop {r4, pc}; mark: bx lr`.
    const CODE: [u16; 12] =
        [0x6808, 0x681a, 0xcc60, 0xf000, 0xf806, 0xfbb0, 0xf0f2, 0xfb01, 0x3002, 0x6008, 0xbd10, 0x4770];

    #[test]
    fn instructions_cost_what_the_manual_says() {
        let mark = 0x1016..0x1018;
        let bytes = CODE.iter().flat_map(|half_word| half_word.to_le_bytes()).collect();
        let functions = [0x1000..0x1016, mark.clone()].map(|Range { start, end }| Function {
            start,
            end,
            of_library: true,
        });
        let code = Code::new(0x1000, bytes, functions.into(), mark);
        let ran = |address, count, left| Executed { address, count, left };
        let segment = |executed| Segment { stack: None, executed };
        let all = segment(vec![
            ran(0x1000, 3, 0),
            ran(0x1002, 3, 0),
            ran(0x1004, 3, 0),
            ran(0x1006, 3, 3),
            ran(0x100a, 3, 0),
            ran(0x100e, 3, 0),
            ran(0x1012, 3, 0),
            ran(0x1014, 3, 3),
            ran(0x1016, 3, 3),
        ]);
        // A mark costs nothing: neither its call nor itself.
        let expected = Cost {
            instructions: 3 * 7,
            loads: 3 * (1 + 1 + 2 + 2),
            stores: 3,
            cycles_estimated: 3 * (2 + 1 + 3 + 7 + 1 + 1 + 3 + 2),
        };
        assert_eq!(Cost::of(&all, &code), expected);
        // A load is cheap right after another one only.
        let apart = segment(vec![ran(0x1000, 1, 0), ran(0x1004, 1, 0)]);
        let alone = segment(vec![ran(0x1002, 1, 0)]);
        assert_eq!(Cost::of(&apart, &code).cycles_estimated, 2 + 3);
        assert_eq!(Cost::of(&alone, &code).cycles_estimated, 2);
    }
}
