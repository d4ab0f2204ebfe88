//! Event files, which TensorBoard reads.
//!
//! The file is a sequence of records: the length of the data (a little-endian `u64`), its checksum,
//! the data, its checksum. The data is an event, a message of protocol buffers. The format is
//! TensorFlow's: `record_writer.h`, `event.proto` and `summary.proto`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::SystemTime,
};

use prost::Message;

use super::folder::open_to_grow;

/// TensorBoard reads every file that has "tfevents" in its name.
const FILE_NAME: &str = "events.out.tfevents.train";

/// `event.proto`'s `Event`. Fields are optional, here and in [`Value`], where a value of 0 must be
/// written.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `summary.proto`'s `Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `summary.proto`'s `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The event file of a run, which grows during the run.
#[derive(Debug)]
pub(crate) struct EventFile {
    file: BufWriter<File>,
    position: u64,
}

impl EventFile {
    /// Opens the folder's event file to continue after its first `length` bytes, or creates it; 0
    /// starts a new file. If the file is truncated or corrupt before that point, the records that
    /// TensorBoard can still read are kept.
    ///
    /// # Errors
    ///
    /// If the folder does not exist, or the file cannot be written.
    pub(crate) fn open(dir: &Path, length: u64) -> io::Result<Self> {
        let (file, position) = open_to_grow(&dir.join(FILE_NAME), length, whole_records)?;
        let mut events = Self { file: BufWriter::new(file), position };
        if position == 0 {
            events.write(&Event {
                wall_time: now(),
                file_version: Some("brain.Event:2".to_owned()),
                ..Event::default()
            })?;
        }
        Ok(events)
    }

    /// Adds the values of a step, each with its name. TensorBoard groups names by their part before
    /// a slash. Values are stored as `f32`, including infinities and NaN.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> io::Result<()> {
        let values = values
            .iter()
            .map(|&(name, value)| Value { tag: name.to_owned(), simple_value: Some(value as f32) });
        self.write(&Event {
            wall_time: now(),
            step: step as i64,
            summary: Some(Summary { value: values.collect() }),
            ..Event::default()
        })
    }

    /// Flushes the added records to the file, so that TensorBoard sees them.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// The length of the file in bytes, including those not yet flushed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let record = record(event);
        self.file.write_all(&record)?;
        self.position += record.len() as u64;
        Ok(())
    }
}

/// The event as a record of the file.
fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let checksums = [&length[..], &data].map(|bytes| checksum(bytes).to_le_bytes());
    [&length[..], &checksums[0], &data, &checksums[1]].concat()
}

/// The length in bytes of the whole records at the start of these bytes.
fn whole_records(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = first_record(&bytes[end..]) {
        end += length;
    }
    end
}

/// The length of the first record in these bytes; `None` if it is truncated or corrupt.
fn first_record(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_checksum, rest) = rest.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(u64::from_le_bytes(*length).try_into().ok()?)?;
    let data_checksum = rest.first_chunk::<4>()?;
    let sound = checksum(length).to_le_bytes() == *length_checksum
        && checksum(data).to_le_bytes() == *data_checksum;
    sound.then_some(8 + 4 + data.len() + 4)
}

/// The CRC-32C, masked as in the format: a plain one is weak over data that contains CRCs.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0.0, |duration| duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn event(wall_time: f64, step: i64, values: &[(&str, f32)]) -> Event {
        let values = values
            .iter()
            .map(|&(name, value)| Value { tag: name.to_owned(), simple_value: Some(value) });
        let summary = Some(Summary { value: values.collect() });
        Event { wall_time, step, file_version: None, summary }
    }

    /// The file's events. Panics if a record is truncated or has a wrong checksum.
    fn read(dir: &Path) -> Vec<Event> {
        let bytes = fs::read(dir.join(FILE_NAME)).unwrap();
        let mut rest = bytes.as_slice();
        let mut take = |count: usize| {
            let (bytes, after) = rest.split_at_checked(count)?;
            rest = after;
            Some(bytes)
        };
        let mut events = Vec::new();
        while let Some(length) = take(8) {
            assert_eq!(take(4).unwrap(), checksum(length).to_le_bytes());
            let data = take(u64::from_le_bytes(length.try_into().unwrap()) as usize).unwrap();
            assert_eq!(take(4).unwrap(), checksum(data).to_le_bytes());
            events.push(Event::decode(data).unwrap());
        }
        assert!(rest.is_empty(), "a record is truncated");
        events
    }

    /// The steps of the file's events and their values. The first event has the file version.
    fn scalars(dir: &Path) -> Vec<(i64, Vec<(String, f32)>)> {
        let events = read(dir);
        let version = Event { wall_time: 0.0, ..events[0].clone() };
        let file_version = Some("brain.Event:2".to_owned());
        assert_eq!(version, Event { file_version, ..Event::default() });
        let values = |event: &Event| {
            assert!(event.wall_time > 1.7e9 && event.file_version.is_none(), "{event:?}");
            let values = event.summary.clone().unwrap().value.into_iter();
            values.map(|value| (value.tag, value.simple_value.unwrap())).collect()
        };
        events[1..].iter().map(|event| (event.step, values(event))).collect()
    }

    /// The expected bytes are the records that PyTorch 2.15.0 and TensorBoard 2.21.0 wrote for
    ///
    /// ```python
    /// writer = torch.utils.tensorboard.SummaryWriter(folder)
    /// writer.add_scalar("loss", 0.0, 7, walltime=1.7e9)
    /// writer.file_writer.add_summary(Summary(value=[
    ///     Summary.Value(tag="train/loss", simple_value=0.625),
    ///     Summary.Value(tag="train/accuracy", simple_value=0.0)]), 300, walltime=1.7e9 + 0.5)
    /// ```
    #[test]
    fn records_are_those_of_tensorboards_own_writer() {
        let hex = |event: &Event| -> String {
            record(event).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(
            hex(&event(1.7e9, 7, &[("loss", 0.0)])),
            "1a00000000000000129bd82d0900000040fc54d94110072a0d0a0b0a046c6f737315000000008c42d0a0"
        );
        assert_eq!(
            hex(&event(1.7e9 + 0.5, 300, &[("train/loss", 0.625), ("train/accuracy", 0.0)])),
            "3800000000000000a3797d570900002040fc54d94110ac022a2a0a110a0a747261696e2f6c6f737315\
             0000203f0a150a0e747261696e2f616363757261637915000000005eca32c6"
        );
    }

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::open(dir.path(), 0).unwrap();
        events.scalars(0, &[("loss", 2.5), ("rate", 0.0)]).unwrap();
        events.scalars(1, &[("loss", f64::INFINITY)]).unwrap();
        events.flush().unwrap();
        let length = fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        assert_eq!(events.position(), length);
        let value = |name: &str, value| (name.to_owned(), value);
        let expected = [
            (0, vec![value("loss", 2.5), value("rate", 0.0)]),
            (1, vec![value("loss", f32::INFINITY)]),
        ];
        assert_eq!(scalars(dir.path()), expected);
    }

    #[test]
    fn a_resumed_run_goes_on_at_its_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::open(dir.path(), 0).unwrap();
        events.scalars(1, &[("loss", 4.0)]).unwrap();
        let checkpoint = events.position();
        events.scalars(2, &[("loss", 3.0)]).unwrap();
        drop(events);

        let mut events = EventFile::open(dir.path(), checkpoint).unwrap();
        assert_eq!(events.position(), checkpoint);
        events.scalars(2, &[("loss", 2.0)]).unwrap();
        drop(events);
        let expected = [(1, vec![("loss".to_owned(), 4.0)]), (2, vec![("loss".to_owned(), 2.0)])];
        assert_eq!(scalars(dir.path()), expected);

        // A new file gets its version again.
        drop(EventFile::open(dir.path(), 0).unwrap());
        assert_eq!(scalars(dir.path()), []);
    }

    /// Truncated at every byte, or with one bit flipped, it keeps the whole records before that.
    #[test]
    fn a_file_that_was_cut_or_spoilt_goes_on_after_its_last_whole_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut events = EventFile::open(dir.path(), 0).unwrap();
        let mut ends = vec![events.position()];
        for step in 1..4 {
            events.scalars(step, &[("loss", 4.0)]).unwrap();
            ends.push(events.position());
        }
        drop(events);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[length] ^= 4;
            for spoilt in [&whole[..length], &flipped] {
                fs::write(&path, spoilt).unwrap();
                let mut events = EventFile::open(dir.path(), whole.len() as u64).unwrap();
                events.scalars(9, &[("loss", 1.0)]).unwrap();
                drop(events);
                let kept = ends.iter().filter(|end| **end <= length as u64).count();
                let steps: Vec<_> = scalars(dir.path()).iter().map(|(step, _)| *step).collect();
                assert_eq!(steps, [&[1, 2, 3][..kept.saturating_sub(1)], &[9]].concat());
            }
        }
    }
}
