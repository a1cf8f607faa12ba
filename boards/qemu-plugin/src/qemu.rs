//! What is used of QEMU's plugin interface, version 1 (`qemu-plugin.h`).

use std::ffi::{c_char, c_int, c_uint, c_void};

/// A plugin's handle.
pub(crate) type PluginId = u64;

/// A translation block: instructions that run one after the other.
#[repr(C)]
pub(crate) struct Block {
    _opaque: [u8; 0],
}

/// An instruction of a translation block.
#[repr(C)]
pub(crate) struct Instruction {
    _opaque: [u8; 0],
}

/// `QEMU_PLUGIN_CB_NO_REGS`: the callback looks at no register.
pub(crate) const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
pub(crate) const ADD_U64: c_int = 0;
/// `QEMU_PLUGIN_MEM_W`.
pub(crate) const WRITES: c_int = 2;

pub(crate) type OnBlock = extern "C" fn(PluginId, *mut Block);
pub(crate) type OnExecution = extern "C" fn(c_uint, *mut c_void);
pub(crate) type OnMemory = extern "C" fn(c_uint, u32, u64, *mut c_void);

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, callback: OnBlock);
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub(crate) fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const [u8; 2];
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_inline(
        instruction: *mut Instruction,
        operation: c_int,
        counter: *mut c_void,
        amount: u64,
    );
    pub(crate) fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: OnMemory,
        flags: c_int,
        accesses: c_int,
        data: *mut c_void,
    );
}

/// Bytes of a Thumb instruction. QEMU 7.2 adds to the last of a block two bytes of the next one, where that crosses a page.
///
/// # Safety
///
/// The instruction is one that QEMU lends.
pub(crate) unsafe fn thumb_size(instruction: *const Instruction) -> u64 {
    // SAFETY: the caller vouches for the instruction, and none is shorter than two bytes.
    let first = unsafe { u16::from_le_bytes(*qemu_plugin_insn_data(instruction)) };
    if first >> 11 >= 0b11101 { 4 } else { 2 }
}

/// The plugin's arguments, `name=value` each.
///
/// # Safety
///
/// `argv` points to `argc` strings.
pub(crate) unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(argc).unwrap_or(0);
    let string = |i| {
        // SAFETY: the caller vouches for the strings.
        let text = unsafe { std::ffi::CStr::from_ptr(*argv.add(i)) };
        text.to_string_lossy().into_owned()
    };
    (0..count).map(string).collect()
}
