//! What a program without libc has to bring itself: the entry point, the four memory functions that the
//! compiler may call, and what happens on a panic. Compiled into the launcher only.

use core::arch::{asm, global_asm};

use super::calls;

// The kernel enters with the stack pointer at argc and no return address. The launcher takes no arguments (all
// it needs comes over a socket), so the stack is only aligned for the ABI.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym enter);

extern "C" fn enter() -> ! {
    crate::main()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing above the panic can be trusted to go on. Status 101 tells the host what happened; everything in the
    // sandbox dies with this process.
    calls::exit(101)
}

/// Named by the unwind tables of the precompiled core library; nothing unwinds here (panic=abort), so nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// # Safety
/// As memcpy(3): both ranges valid for `count` bytes and not overlapping.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller promises both ranges; `rep movsb` copies upwards, with the direction flag clear as the
    // ABI guarantees.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memmove(3): both ranges valid for `count` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr() <= from.addr() || to.addr() >= from.addr().wrapping_add(count) {
        // SAFETY: copying upwards never overwrites a byte that is still to be read, because `to` is below `from`
        // or past its end.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the ranges overlap with `to` above `from`, so the copy runs downwards; the pointers start at the
    // last byte (count is not 0 here, else the test above had held). The flag is restored for the ABI.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
             inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _, options(nostack));
    }
    to
}

/// # Safety
/// As memset(3): the range is valid for `count` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller promises the range; `rep stosb` writes upwards.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte.to_le_bytes()[0], options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memcmp(3): both ranges valid for `count` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: `at` is below `count`, and the caller promises that many bytes.
        let left = unsafe { a.wrapping_add(at).read_volatile() };
        // SAFETY: as above, for the other range.
        let right = unsafe { b.wrapping_add(at).read_volatile() };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
        at += 1;
    }
    0
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the same promise is passed on.
    unsafe { memcmp(a, b, count) }
}
