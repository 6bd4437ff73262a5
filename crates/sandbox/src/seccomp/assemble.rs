//! From judgements by call number to a BPF program.

use super::{Action, Judgement, Test};

const LOAD_ABSOLUTE: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_NOT_BELOW: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
/// Offsets in struct seccomp_data.
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
const AT_ARGUMENTS: u32 = 16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// The first number of the x32 calls, which share the architecture value but not the table (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, value }
}

fn ret(action: Action) -> Instruction {
    let value = match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Report => 0x7fc0_0000,
        Action::Kill => 0x8000_0000,
    };
    plain(RETURN, value)
}

/// Builds the program. `judged` is sorted by number without repetitions; numbers that it does not name get `unknown`.
/// The bytes are what seccomp(2) takes: 8 for each instruction.
pub(crate) fn assemble(judged: &[(u32, Judgement)], unknown: &Judgement) -> Vec<u8> {
    let ranges = ranges(judged, unknown);
    let mut program = vec![
        plain(LOAD_ABSOLUTE, AT_ARCHITECTURE),
        Instruction { code: JUMP_EQUAL, if_true: 1, if_false: 0, value: AUDIT_ARCH_X86_64 },
        ret(Action::Kill),
        plain(LOAD_ABSOLUTE, AT_NUMBER),
        Instruction { code: JUMP_NOT_BELOW, if_true: 0, if_false: 1, value: X32 },
        ret(Action::Kill),
    ];
    program.extend(tree(&ranges));
    program.iter().flat_map(encode).collect()
}

fn encode(instruction: &Instruction) -> [u8; 8] {
    let [a, b] = instruction.code.to_le_bytes();
    let [e, f, g, h] = instruction.value.to_le_bytes();
    [a, b, instruction.if_true, instruction.if_false, e, f, g, h]
}

/// Neighbouring numbers with the same judgement become one range: (first number, judgement), the first at 0.
fn ranges<'a>(judged: &'a [(u32, Judgement)], unknown: &'a Judgement) -> Vec<(u32, &'a Judgement)> {
    let mut ranges: Vec<(u32, &Judgement)> = Vec::new();
    let mut next = 0;
    for (number, judgement) in judged {
        if *number > next || ranges.is_empty() && *number > 0 {
            push(&mut ranges, next, unknown);
        }
        push(&mut ranges, *number, judgement);
        next = number + 1;
    }
    push(&mut ranges, next, unknown);
    ranges
}

fn push<'a>(ranges: &mut Vec<(u32, &'a Judgement)>, first: u32, judgement: &'a Judgement) {
    if ranges.last().is_none_or(|(_, last)| *last != judgement) {
        ranges.push((first, judgement));
    }
}

/// A balanced tree: at each node "number >= first of the right half" chooses the half.
fn tree(ranges: &[(u32, &Judgement)]) -> Vec<Instruction> {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let Some((first_right, judgement)) = right.first() else { return Vec::new() };
    if left.is_empty() {
        return leaf(judgement);
    }
    let below = tree(left);
    let above = tree(right);
    let mut program = Vec::with_capacity(below.len() + above.len() + 2);
    match u8::try_from(below.len()) {
        Ok(distance) => {
            program.push(Instruction {
                code: JUMP_NOT_BELOW,
                if_true: distance,
                if_false: 0,
                value: *first_right,
            });
        }
        Err(_) => {
            // A conditional jump reaches 255 instructions; further ones go by an unconditional one.
            program.push(Instruction { code: JUMP_NOT_BELOW, if_true: 0, if_false: 1, value: *first_right });
            program.push(plain(JUMP, u32::try_from(below.len()).unwrap_or(u32::MAX)));
        }
    }
    program.extend(below);
    program.extend(above);
    program
}

fn leaf(judgement: &Judgement) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (tests, action) in &judgement.clauses {
        program.extend(clause(tests, *action));
    }
    program.push(ret(judgement.otherwise));
    program
}

/// All tests hold: return the action; one does not: jump behind the clause.
fn clause(tests: &[Test], action: Action) -> Vec<Instruction> {
    let mut program = vec![ret(action)];
    for test in tests.iter().rev() {
        let skip = u8::try_from(program.len()).unwrap_or(u8::MAX);
        let equal = |value| Instruction { code: JUMP_EQUAL, if_true: 0, if_false: skip, value };
        let mut with = match *test {
            Test::Masked { argument, mask, value } => {
                let at = AT_ARGUMENTS + 8 * u32::from(argument);
                let mut test = vec![plain(LOAD_ABSOLUTE, at)];
                if mask != u32::MAX {
                    test.push(plain(AND, mask));
                }
                test.push(equal(value));
                test
            }
            Test::Whole { argument, value } => {
                let at = AT_ARGUMENTS + 8 * u32::from(argument);
                let (below, above) = ((value & 0xffff_ffff) as u32, (value >> 32) as u32);
                let low = Instruction { code: JUMP_EQUAL, if_true: 0, if_false: skip + 2, value: below };
                vec![plain(LOAD_ABSOLUTE, at), low, plain(LOAD_ABSOLUTE, at + 4), equal(above)]
            }
        };
        with.append(&mut program);
        program = with;
    }
    program
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs a program as the kernel would: the returned action value.
    pub(crate) fn run(program: &[u8], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[0..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&architecture.to_le_bytes());
        for (index, argument) in arguments.iter().enumerate() {
            data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
        }
        let code: Vec<_> = program
            .chunks(8)
            .map(|c| {
                (u16::from_le_bytes([c[0], c[1]]), c[2], c[3], u32::from_le_bytes([c[4], c[5], c[6], c[7]]))
            })
            .collect();
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let (op, yes, no, value) = code[at];
            at += 1;
            match op {
                LOAD_ABSOLUTE => {
                    let offset = value as usize;
                    accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                }
                AND => accumulator &= value,
                JUMP => at += value as usize,
                JUMP_EQUAL => at += usize::from(if accumulator == value { yes } else { no }),
                JUMP_NOT_BELOW => at += usize::from(if accumulator >= value { yes } else { no }),
                RETURN => return value,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn value(action: Action) -> u32 {
        ret(action).value
    }

    #[test]
    fn every_number_gets_its_judgement() {
        // 300 judgements that alternate, so that the tree is deep and wide enough for long jumps.
        let judged: Vec<_> = (1..301)
            .map(|n| {
                (n * 2, Judgement::always(if n % 3 == 0 { Action::Allow } else { Action::Errno(n as u16) }))
            })
            .collect();
        let program = assemble(&judged, &Judgement::always(Action::Report));
        assert!(program.len() / 8 < 4096, "the kernel takes at most 4096 instructions");
        for number in 0..1000 {
            let expected =
                judged.iter().find(|(n, _)| *n == number).map_or(Action::Report, |(_, j)| j.otherwise);
            assert_eq!(run(&program, AUDIT_ARCH_X86_64, number, [0; 6]), value(expected), "call {number}");
        }
    }

    #[test]
    fn other_architectures_and_x32_are_killed() {
        let program = assemble(&[(1, Judgement::always(Action::Allow))], &Judgement::always(Action::Allow));
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), value(Action::Kill));
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, X32 | 1, [0; 6]), value(Action::Kill));
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, 1, [0; 6]), value(Action::Allow));
    }

    #[test]
    fn clauses_need_all_their_tests() {
        let both = vec![
            Test::Masked { argument: 0, mask: 0xf0, value: 0x10 },
            Test::Whole { argument: 4, value: 0 },
        ];
        let judgement = Judgement { clauses: vec![(both, Action::Allow)], otherwise: Action::Errno(1) };
        let program = assemble(&[(7, judgement)], &Judgement::always(Action::Errno(38)));
        let answer = |arguments| run(&program, AUDIT_ARCH_X86_64, 7, arguments);
        assert_eq!(answer([0x1f, 0, 0, 0, 0, 0]), value(Action::Allow));
        assert_eq!(answer([0x2f, 0, 0, 0, 0, 0]), value(Action::Errno(1)));
        assert_eq!(answer([0x1f, 0, 0, 0, 1, 0]), value(Action::Errno(1)));
        assert_eq!(answer([0x1f, 0, 0, 0, 1 << 32, 0]), value(Action::Errno(1)), "the upper half counts");
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, 8, [0; 6]), value(Action::Errno(38)));
    }
}
