//! Random and malicious damage to files.

use std::ops::Range;

use mutatis::{Candidates, Mutate, Result, Rng};

use super::target::File;

/// No input grows beyond this, in bytes.
const LONGEST: usize = 1 << 20;

/// Texts that replace a number in a text file.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "0.5",
    "1e308",
    "-1e999",
    "nan",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "340282366920938463463374607431768211456",
    "null",
    "[]",
    "\"\"",
];

/// Damages a file. The spliced-in pieces come from the other files.
pub struct Damage<'a> {
    pub others: &'a [File],
}

impl Mutate<Vec<u8>> for Damage<'_> {
    fn mutate(&mut self, damages: &mut Candidates, file: &mut Vec<u8>) -> Result<()> {
        if file.is_empty() {
            return damages.mutation(|context| {
                file.push(context.rng().gen_u8());
                Ok(())
            });
        }
        damages.mutation(|context| {
            let place = place(context.rng(), file.len());
            file[place] ^= 1 << (context.rng().gen_u8() % 8);
            Ok(())
        })?;
        damages.mutation(|context| {
            let place = place(context.rng(), file.len());
            file[place] = context.rng().gen_u8();
            Ok(())
        })?;
        // Truncates.
        damages.mutation(|context| {
            file.truncate(place(context.rng(), file.len()));
            Ok(())
        })?;
        // Removes a piece.
        damages.mutation(|context| {
            file.drain(piece(context.rng(), file.len()));
            Ok(())
        })?;
        // Repeats a piece, for long names and deep nesting.
        damages.mutation(|context| {
            let piece = piece(context.rng(), file.len());
            let most = (LONGEST - file.len().min(LONGEST)) / piece.len().max(1);
            // Rarely very long, because such files are slow to read.
            let mut exponent = || context.rng().gen_u8() % 17;
            let reach = 1 << exponent().min(exponent()).min(exponent());
            let times = context.rng().gen_index(most.min(reach)).unwrap_or(0) + 1;
            let copies = file[piece.clone()].repeat(times);
            file.splice(piece.start..piece.start, copies);
            Ok(())
        })?;
        // Replaces a piece by one of another file or of this one, or inserts such a piece.
        damages.mutation(|context| {
            let rng = context.rng();
            let at = piece(rng, file.len());
            let at = if rng.gen_bool() { at } else { at.start..at.start };
            let (_, other) = rng.choose(self.others).expect("there are other files");
            let new = other[piece(rng, other.len())].to_vec();
            file.splice(at, new);
            Ok(())
        })?;
        // The same with lines, for text files.
        damages.mutation(|context| {
            let rng = context.rng();
            let (_, other) = rng.choose(self.others).expect("there are other files");
            let at = line(file, place(rng, file.len()));
            let at = if rng.gen_bool() { at } else { at.start..at.start };
            let new = match other.len() {
                0 => Vec::new(),
                length => other[line(other, place(rng, length))].to_vec(),
            };
            file.splice(at, new);
            Ok(())
        })?;
        // Overwrites bytes with a binary number: a length that is wrong or huge.
        damages.mutation(|context| {
            let rng = context.rng();
            let place = place(rng, file.len());
            let length = file.len() as u64;
            let numbers =
                [0, 1, length - 1, length + 1, 1 << 20, 1 << 31, 1 << 40, u64::MAX >> 1, u64::MAX];
            let number = rng.choose(numbers).expect("there are some");
            let width = rng.choose([1, 2, 4, 8]).expect("there are some").min(file.len() - place);
            let bytes = if rng.gen_bool() {
                number.to_le_bytes()[..width].to_vec()
            } else {
                number.to_be_bytes()[8 - width..].to_vec()
            };
            file[place..place + width].copy_from_slice(&bytes);
            Ok(())
        })?;
        // The same for numbers in text files.
        damages.mutation(|context| {
            let rng = context.rng();
            let from = place(rng, file.len());
            let number = rng.choose(NUMBERS).expect("there are some");
            let is_number = |byte: &u8| byte.is_ascii_digit() || b".-e".contains(byte);
            let Some(start) = file[from..].iter().position(u8::is_ascii_digit) else {
                return Ok(());
            };
            let start = from + start;
            let length = file[start..].iter().take_while(|byte| is_number(byte)).count();
            file.splice(start..start + length, number.bytes());
            Ok(())
        })
    }
}

/// Returns a position in a file of this length: half of the time near its start or end, where
/// headers and directories are, else anywhere.
fn place(rng: &mut Rng, length: usize) -> usize {
    let kind = rng.gen_u8();
    let reach = match kind % 6 {
        0 => length.min(64),
        1 | 2 => length.min(1024),
        _ => length,
    };
    let offset = rng.gen_index(reach).expect("a file that is not empty");
    if kind % 6 == 2 { length - 1 - offset } else { offset }
}

/// Returns a range of consecutive bytes, few or many.
fn piece(rng: &mut Rng, length: usize) -> Range<usize> {
    if length == 0 {
        return 0..0;
    }
    let start = place(rng, length);
    let longest = 1 << (rng.gen_u8() % 13);
    start..start + rng.gen_index((length - start).min(longest)).expect("a byte is left") + 1
}

/// Returns the range of the line at this position, with its line break.
fn line(text: &[u8], place: usize) -> Range<usize> {
    let is_end = |byte: &u8| *byte == b'\n';
    let start = text[..place].iter().rposition(is_end).map_or(0, |end| end + 1);
    let end = text[place..].iter().position(is_end).map_or(text.len(), |end| place + end + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use mutatis::Session;

    use super::*;

    fn damaged(seed: u64, cases: usize) -> Vec<Vec<u8>> {
        let others = [("other".into(), b"another = 7\nfile = 8\n".to_vec())];
        let mut damage = Damage { others: &others };
        let mut session = Session::new().seed(seed);
        let case = |_| {
            let mut file = b"network = \"lenet\"\nepochs = 12\n".to_vec();
            session.mutate_with(&mut damage, &mut file).unwrap();
            file
        };
        (0..cases).map(case).collect()
    }

    #[test]
    fn the_seed_decides_the_damage() {
        assert_eq!(damaged(1, 100), damaged(1, 100));
        assert_ne!(damaged(1, 100), damaged(2, 100));
    }

    #[test]
    fn damage_is_of_every_kind() {
        let files = damaged(3, 5000);
        let whole = "network = \"lenet\"\nepochs = 12\n";
        let texts: Vec<_> = files.iter().map(|file| String::from_utf8_lossy(file)).collect();
        let some = |kind: &dyn Fn(&str) -> bool| texts.iter().any(|text| kind(text));
        assert!(some(&|text| text.len() < 10 && whole.starts_with(text)), "cut short");
        assert!(some(&|text| text.len() > 10_000), "long");
        assert!(some(&|text| text.ends_with("epochs = 18446744073709551615\n")), "huge");
        assert!(some(&|text| text == format!("file = 8\n{whole}")), "a line of another file");
        let flipped = |file: &Vec<u8>| {
            let differences = file.iter().zip(whole.bytes()).map(|(a, b)| (a ^ b).count_ones());
            file.len() == whole.len() && differences.sum::<u32>() == 1
        };
        assert!(files.iter().any(flipped), "a bit flipped");
        assert!(files.iter().any(|file| file.windows(4).any(|four| four == [255; 4])), "a length");
    }

    #[test]
    fn an_empty_file_grows() {
        let mut file = Vec::new();
        Session::new().mutate_with(&mut Damage { others: &[] }, &mut file).unwrap();
        assert_eq!(file.len(), 1);
    }
}
