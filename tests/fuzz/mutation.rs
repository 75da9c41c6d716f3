//! Changes inputs a little: what libFuzzer does, without its feedback.

use crate::support::random::Random;

/// Inputs do not grow beyond this.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Pieces that the formats give a meaning.
const PIECES: [&[u8]; 24] = [
    b"\"",
    b"'",
    b"\\",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xe9",
    b"null",
    b"NA",
    b"1e5",
    b"-0.5",
    b"2024-02-29",
    b"\\ud800",
];

/// A seed with one to eight changes.
pub(crate) fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(seeds).clone();
    for _ in 0..=random.below(8) {
        change(&mut input, seeds, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        return input.push(byte(random));
    }
    let at = random.index(input.len());
    match random.below(8) {
        0 => input[at] = byte(random),
        1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = input[at].wrapping_add(1),
        3 => insert(input, at, PIECES[random.index(PIECES.len())]),
        4 => drop(input.drain(at..piece_end(input, at, random))),
        5 => {
            let piece = input[at..piece_end(input, at, random)].to_vec();
            let to = random.index(input.len());
            insert(input, to, &piece);
        }
        6 => {
            let other = random.pick(seeds);
            if !other.is_empty() {
                let from = random.index(other.len());
                insert(input, at, &other[from..piece_end(other, from, random)]);
            }
        }
        _ => input.truncate(at),
    }
}

fn byte(random: &mut Random) -> u8 {
    u8::try_from(random.below(256)).expect("a byte")
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}

fn piece_end(input: &[u8], start: usize, random: &mut Random) -> usize {
    let longest = if random.one_in(4) { 400 } else { 12 };
    input.len().min(start + 1 + random.index(longest))
}
