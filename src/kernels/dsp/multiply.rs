//! The inner loop.

/// Accumulators of two channels and two pixels: `[channel 0 pixel 0, channel 0 pixel 1, channel 1 pixel 0, channel 1
/// pixel 1]`. Adds the products of all words of two channels' kernels and of two pixels' columns, both in lanes.
///
/// # Panics
///
/// If the words are not as many of one as of the other, and a multiple of four.
#[inline(always)]
pub(super) fn two_by_two(kernels: &[i32], columns: &[i32], sums: [i32; 4]) -> [i32; 4] {
    assert!(kernels.len() == columns.len() && kernels.len().is_multiple_of(4));
    #[cfg(target_arch = "arm")]
    return native(kernels, columns, sums);
    #[cfg(not(target_arch = "arm"))]
    return computed(kernels, columns, sums);
}

/// Ten instructions for sixteen products: two loads of four words, eight SMLAD. All registers are needed, so that where the
/// loop ends is kept on the stack.
#[cfg(target_arch = "arm")]
#[inline(always)]
#[allow(unsafe_code, reason = "a loop that the compiler does not find")]
fn native(kernels: &[i32], columns: &[i32], [mut a, mut b, mut c, mut d]: [i32; 4]) -> [i32; 4] {
    macro_rules! group {
        () => {
            "ldmia r0!, {{r2, r3, r4, r5}}
             ldmia r1!, {{r6, r7, r8, r9}}
             smlad r10, r2, r6, r10
             smlad r11, r2, r7, r11
             smlad r12, r3, r6, r12
             smlad lr, r3, r7, lr
             smlad r10, r4, r8, r10
             smlad r11, r4, r9, r11
             smlad r12, r5, r8, r12
             smlad lr, r5, r9, lr
             "
        };
    }
    let end = kernels.as_ptr_range().end;
    // SAFETY: `kernels` and `columns` are words, `r0` and `r1` walk over them in steps of four and stop at the end of
    // `kernels`, which is as long as `columns` and a multiple of four words. r6 and r7, which an operand may not name, are
    // saved and restored; the stack pointer is where it was in the end. Only what is on the stack below is written.
    unsafe {
        core::arch::asm!(
            "push {{r6, r7}}",
            "push {{r2}}",
            "sub r3, r2, r0",
            "ands r3, r3, #48", // groups of 16 bytes that fill no four
            "beq 3f",
            "add r3, r0, r3",
            "push {{r3}}",
            "2:",
            group!(),
            "ldr r2, [sp]",
            "cmp r0, r2",
            "bne 2b",
            "add sp, #4",
            "3:",
            "ldr r2, [sp]",
            "cmp r0, r2",
            "beq 5f",
            "4:",
            group!(),
            group!(),
            group!(),
            group!(),
            "ldr r2, [sp]",
            "cmp r0, r2",
            "bne 4b",
            "5:",
            "add sp, #4",
            "pop {{r6, r7}}",
            inout("r0") kernels.as_ptr() => _,
            inout("r1") columns.as_ptr() => _,
            inout("r2") end => _,
            out("r3") _, out("r4") _, out("r5") _, out("r8") _, out("r9") _,
            inout("r10") a, inout("r11") b, inout("r12") c, inout("lr") d,
        );
    }
    [a, b, c, d]
}

#[cfg(not(target_arch = "arm"))]
fn computed(kernels: &[i32], columns: &[i32], mut sums: [i32; 4]) -> [i32; 4] {
    use super::instructions::smlad;
    for (kernels, columns) in kernels.chunks_exact(2).zip(columns.chunks_exact(2)) {
        for (sum, (kernel, column)) in sums.iter_mut().zip([(0, 0), (0, 1), (1, 0), (1, 1)]) {
            *sum = smlad(kernels[kernel], columns[column], *sum);
        }
    }
    sums
}
