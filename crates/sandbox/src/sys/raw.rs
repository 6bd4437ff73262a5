//! The system call instruction, and nothing else.
//!
//! This file is compiled twice: into the library, and into the launcher, a static program without libc or
//! allocator. It therefore uses `core` only. Everything above it is typed; nothing above it needs `unsafe`
//! to start a system call except the thin wrappers in [`super::calls`].

use core::arch::asm;

/// Runs one system call with up to six arguments and returns the kernel's answer: `-errno` or a result.
///
/// # Safety
/// The arguments must be what the kernel expects for `number`: every address must be valid for the access
/// that the call makes, for as long as it makes it. A call that ends the process or replaces its memory does
/// not return.
#[inline]
pub(crate) unsafe fn syscall6(
    number: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let answer: isize;
    // SAFETY: the x86_64 system call convention (syscall(2)): number in rax, arguments in rdi rsi rdx r10 r8
    // r9, answer in rax, rcx and r11 overwritten; the stack is not touched. What the kernel does with the
    // arguments is the caller's promise, stated above.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number.cast_signed() => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// Starts a child that shares this process's memory and file table until it executes a program or exits,
/// and runs `entry(argument)` on `stack_top` in it. Returns the child's pid in the parent, once the child has
/// executed or exited (the kernel suspends the parent: `CLONE_VFORK`).
///
/// # Safety
/// `stack_top` must be the 16-byte aligned upper end of memory that nobody else uses until this returns, and
/// large enough for `entry`. `entry` must not return and must not unwind; what it writes to shared memory is
/// seen by the parent. `flags` must contain `CLONE_VM | CLONE_VFORK` and must not contain `CLONE_THREAD` or
/// `CLONE_SETTLS`.
#[inline(never)]
pub(crate) unsafe fn clone_onto_stack(
    arguments: *const CloneArguments,
    size: usize,
    entry: unsafe extern "C" fn(usize) -> !,
    argument: usize,
) -> isize {
    let answer: isize;
    // SAFETY: clone3(2) reads `arguments`, which the caller keeps alive. In the child the kernel has set rsp to
    // the top of the given stack, so the child's branch touches only that stack: it clears the frame pointer,
    // loads the argument and jumps to `entry`, which never returns. In the parent rax holds pid or -errno and
    // control falls through. r12 and r13 keep their values across the call in both processes.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") 435isize => answer,
            in("rdi") arguments,
            in("rsi") size,
            in("r12") entry,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    answer
}

/// `struct clone_args` of clone3(2), version 2 (88 bytes, Linux 5.7).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct CloneArguments {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}
