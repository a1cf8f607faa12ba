//! A plugin of QEMU that counts executed instructions, address by address.
//!
//! The guest marks the ends of what is to be told apart by calling a function that does nothing. Whenever that
//! function is entered, all counts since it was entered last are written out as a segment and start anew:
//!
//! ```text
//! segment LOWEST HIGHEST      addresses that were stored to in the stack; 0 0 if none was
//! ADDRESS COUNT LEFT          an instruction: how often it ran, and how often it was left for another than the next
//! ```
//!
//! All numbers are hexadecimal. What ran after the last mark is not written. The function's own instructions are the first
//! of a segment.
//! The arguments are `out=FILE`, `mark=ADDRESS`, `code=FIRST:END` and `stack=FIRST:END`.
//!
//! It is no part of the workspace: only `condconv profile` and the benchmarks build it. It talks to C, so it cannot do
//! without `unsafe`, which lies in `qemu` and in the callbacks below.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

mod qemu;

/// The version of the interface, for QEMU.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

static COUNTS: OnceLock<Counts> = OnceLock::new();

/// All that is counted. Atomic since QEMU has several threads; one of them runs the guest.
struct Counts {
    out: Mutex<BufWriter<File>>,
    mark: u64,
    code: Range<u64>,
    stack: Range<u64>,
    /// For each half-word of the code: how often the instruction there ran.
    executed: Box<[AtomicU64]>,
    /// How often something other than the instruction after it ran next.
    left: Box<[AtomicU64]>,
    lowest_store: AtomicU64,
    highest_store: AtomicU64,
    /// The block that ran last.
    last: AtomicU64,
    last_end: AtomicU64,
}

/// Where a block of instructions lies. Handed to QEMU, and never freed since blocks run until QEMU ends.
struct Block {
    first: u64,
    last: u64,
    end: u64,
}

impl Counts {
    fn new(arguments: &[String]) -> Option<Self> {
        let value = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let range = |text: &str| {
            let (first, end) = text.split_once(':')?;
            Some(number(first)?..number(end)?)
        };
        let code = range(value("code=")?)?;
        let zeros = || (0..(code.end - code.start) / 2 + 1).map(|_| AtomicU64::new(0)).collect();
        Some(Self {
            out: Mutex::new(BufWriter::new(File::create(value("out=")?).ok()?)),
            mark: number(value("mark=")?)?,
            stack: range(value("stack=")?)?,
            executed: zeros(),
            left: zeros(),
            lowest_store: AtomicU64::new(u64::MAX),
            highest_store: AtomicU64::new(0),
            last: AtomicU64::new(code.start),
            last_end: AtomicU64::new(0),
            code,
        })
    }

    fn index(&self, address: u64) -> usize {
        usize::try_from((address - self.code.start) / 2)
            .expect("a microcontroller's code fits the host's memory")
    }

    fn enter(&self, block: &Block) {
        if block.first != self.last_end.load(Relaxed) {
            self.left[self.index(self.last.load(Relaxed))].fetch_add(1, Relaxed);
        }
        self.last.store(block.last, Relaxed);
        self.last_end.store(block.end, Relaxed);
    }

    fn store(&self, address: u64) {
        if self.stack.contains(&address) {
            self.lowest_store.fetch_min(address, Relaxed);
            self.highest_store.fetch_max(address, Relaxed);
        }
    }

    fn write_segment(&self) -> io::Result<()> {
        let mut out = self.out.lock().expect("nothing panics while it writes");
        let highest = self.highest_store.swap(0, Relaxed);
        let lowest = self.lowest_store.swap(u64::MAX, Relaxed).min(highest);
        writeln!(out, "segment {lowest:x} {highest:x}")?;
        for (address, (executed, left)) in
            (self.code.start..).step_by(2).zip(self.executed.iter().zip(&self.left))
        {
            let (executed, left) = (executed.swap(0, Relaxed), left.swap(0, Relaxed));
            if executed > 0 {
                writeln!(out, "{address:x} {executed:x} {left:x}")?;
            }
        }
        out.flush()
    }
}

/// QEMU's call to begin with.
///
/// # Safety
///
/// For QEMU only: `argv` are `argc` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: qemu::PluginId,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU hands its arguments over as documented.
    let arguments = unsafe { qemu::arguments(argc, argv) };
    let Some(counts) = Counts::new(&arguments) else {
        eprintln!("the plugin's arguments are out=, mark=, code= and stack=, not {arguments:?}");
        return 1;
    };
    if COUNTS.set(counts).is_err() {
        return 1;
    }
    // SAFETY: the callback has the type and the lifetime that QEMU wants.
    unsafe { qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, translate) };
    0
}

/// Puts counters into instructions as they are translated.
extern "C" fn translate(_: qemu::PluginId, block: *mut qemu::Block) {
    let Some(counts) = COUNTS.get() else { return };
    // SAFETY: QEMU lends the block, and what it consists of, until this returns. Counters and blocks that are handed
    // over live for ever.
    unsafe {
        let instructions: Vec<*mut qemu::Instruction> = (0..qemu::qemu_plugin_tb_n_insns(block))
            .map(|index| qemu::qemu_plugin_tb_get_insn(block, index))
            .collect();
        let (Some(&first), Some(&last)) = (instructions.first(), instructions.last()) else { return };
        let [first_address, last_address] = [first, last].map(|i| qemu::qemu_plugin_insn_vaddr(i));
        if !counts.code.contains(&first_address) {
            return;
        }
        let end = last_address + qemu::thumb_size(last);
        let place: *mut Block = Box::leak(Box::new(Block { first: first_address, last: last_address, end }));
        qemu::qemu_plugin_register_vcpu_insn_exec_cb(first, enter, qemu::NO_REGISTERS, place.cast());
        if first_address == counts.mark {
            qemu::qemu_plugin_register_vcpu_insn_exec_cb(first, mark, qemu::NO_REGISTERS, ptr::null_mut());
        }
        for &instruction in &instructions {
            let address = qemu::qemu_plugin_insn_vaddr(instruction);
            let counter = counts.executed[counts.index(address)].as_ptr();
            qemu::qemu_plugin_register_vcpu_insn_exec_inline(instruction, qemu::ADD_U64, counter.cast(), 1);
            let no_data = ptr::null_mut();
            qemu::qemu_plugin_register_vcpu_mem_cb(
                instruction,
                store,
                qemu::NO_REGISTERS,
                qemu::WRITES,
                no_data,
            );
        }
    }
}

extern "C" fn enter(_: c_uint, block: *mut c_void) {
    // SAFETY: `translate` leaked it for this callback, and nothing writes to it.
    let block = unsafe { &*block.cast::<Block>() };
    if let Some(counts) = COUNTS.get() {
        counts.enter(block);
    }
}

extern "C" fn mark(_: c_uint, _: *mut c_void) {
    if let Some(Err(error)) = COUNTS.get().map(Counts::write_segment) {
        eprintln!("the counts cannot be written: {error}");
        std::process::abort();
    }
}

extern "C" fn store(_: c_uint, _: u32, address: u64, _: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.store(address);
    }
}
