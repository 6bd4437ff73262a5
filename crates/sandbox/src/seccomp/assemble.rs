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
    let mut program = Backwards::default();
    let kill = program.answer(Action::Kill);
    let native = program.tree(&ranges(judged, unknown));
    program.branch(JUMP_NOT_BELOW, X32, kill, native);
    let number = program.push(plain(LOAD_ABSOLUTE, AT_NUMBER));
    program.branch(JUMP_EQUAL, AUDIT_ARCH_X86_64, number, kill);
    program.push(plain(LOAD_ABSOLUTE, AT_ARCHITECTURE));
    program.instructions.iter().rev().flat_map(encode).collect()
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

/// Where a jump goes: the place of an instruction, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(usize);

/// A program that is written from its end to its beginning. All jumps of classic BPF lead forward, so whatever is written
/// knows already how far away its targets are, and an answer that several branches share is written once.
#[derive(Debug, Default)]
struct Backwards<'a> {
    instructions: Vec<Instruction>,
    /// Where each answer was written last.
    answers: Vec<(Action, Place)>,
    /// Where each judgement with clauses was written last: chmod and mkdir, say, have the same.
    leaves: Vec<(&'a Judgement, Place)>,
}

impl<'a> Backwards<'a> {
    fn push(&mut self, instruction: Instruction) -> Place {
        self.instructions.push(instruction);
        Place(self.instructions.len() - 1)
    }

    /// How many instructions a jump that is written next skips to reach `place`.
    fn distance(&self, place: Place) -> usize {
        self.instructions.len() - 1 - place.0
    }

    /// The answer `action`: the last one written if a jump from here reaches it, else a new one.
    fn answer(&mut self, action: Action) -> Place {
        if let Some((_, place)) = self.answers.iter().find(|(known, _)| *known == action)
            && self.distance(*place) <= usize::from(u8::MAX)
        {
            return *place;
        }
        let place = self.push(ret(action));
        self.answers.retain(|(known, _)| *known != action);
        self.answers.push((action, place));
        place
    }

    /// A conditional jump. It reaches 255 instructions; to what is further away an unconditional one leads.
    fn branch(&mut self, code: u16, value: u32, if_true: Place, if_false: Place) -> Place {
        let if_false = self.nearer(if_false);
        // Bringing this one nearer moves the other one away by one, which `nearer` leaves room for.
        let if_true = self.nearer(if_true);
        let reach = |place| u8::try_from(self.distance(place)).unwrap_or(u8::MAX);
        let instruction = Instruction { code, if_true: reach(if_true), if_false: reach(if_false), value };
        self.push(instruction)
    }

    fn nearer(&mut self, place: Place) -> Place {
        let distance = self.distance(place);
        if distance < usize::from(u8::MAX) {
            return place;
        }
        self.push(plain(JUMP, u32::try_from(distance).unwrap_or(u32::MAX)))
    }

    /// A balanced tree: at each node "number >= first of the right half" chooses the half.
    fn tree(&mut self, ranges: &[(u32, &'a Judgement)]) -> Place {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let Some((first_right, judgement)) = right.first() else { return self.answer(Action::Kill) };
        if left.is_empty() {
            return self.leaf(judgement);
        }
        let above = self.tree(right);
        let below = self.tree(left);
        self.branch(JUMP_NOT_BELOW, *first_right, above, below)
    }

    fn leaf(&mut self, judgement: &'a Judgement) -> Place {
        if let Some((_, place)) = self.leaves.iter().find(|(known, _)| *known == judgement)
            && self.distance(*place) < usize::from(u8::MAX)
        {
            return *place;
        }
        let mut next = self.answer(judgement.otherwise);
        for (tests, action) in judgement.clauses.iter().rev() {
            next = self.clause(tests, *action, next);
        }
        if !judgement.clauses.is_empty() {
            self.leaves.retain(|(known, _)| *known != judgement);
            self.leaves.push((judgement, next));
        }
        next
    }

    /// All tests hold: the action; one does not: what comes `otherwise`.
    fn clause(&mut self, tests: &[Test], action: Action, otherwise: Place) -> Place {
        let mut next = self.answer(action);
        for test in tests.iter().rev() {
            match *test {
                Test::Masked { argument, mask, value } => {
                    self.branch(JUMP_EQUAL, value, next, otherwise);
                    if mask != u32::MAX {
                        self.push(plain(AND, mask));
                    }
                    next = self.push(plain(LOAD_ABSOLUTE, AT_ARGUMENTS + 8 * u32::from(argument)));
                }
                Test::Whole { argument, value } => {
                    let at = AT_ARGUMENTS + 8 * u32::from(argument);
                    let (below, above) = ((value & 0xffff_ffff) as u32, (value >> 32) as u32);
                    self.branch(JUMP_EQUAL, above, next, otherwise);
                    next = self.push(plain(LOAD_ABSOLUTE, at + 4));
                    self.branch(JUMP_EQUAL, below, next, otherwise);
                    next = self.push(plain(LOAD_ABSOLUTE, at));
                }
            }
        }
        next
    }
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
    fn an_answer_is_written_once_within_reach() {
        let judged: Vec<_> = (0..40).map(|n| (n * 2, Judgement::always(Action::Allow))).collect();
        let program = assemble(&judged, &Judgement::always(Action::Errno(38)));
        // 80 ranges need 79 branches; three answers, and four instructions that tell architectures apart.
        assert_eq!(program.len() / 8, 79 + 3 + 4);
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
