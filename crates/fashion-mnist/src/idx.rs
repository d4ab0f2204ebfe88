//! IDX, the format of the files of MNIST and Fashion-MNIST: a header of big-endian 32-bit words,
//! which are a magic number and the length of each dimension, and then the elements.
//! The low byte of the magic number is the number of dimensions, the byte before it is the type of
//! an element, 8 for unsigned bytes (<http://yann.lecun.com/exdb/mnist/>, at the end of the page).

use crate::{Class, PIXELS, SIDE};

/// The contents of an IDX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Images of 28 x 28 bytes.
    Images,
    /// Labels of one byte, 0 to 9.
    Labels,
}

/// Why bytes are not the expected IDX file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdxError {
    /// The bytes end within the header.
    #[error("it ends within its header: {len} bytes of {header}")]
    TooShort {
        /// Number of bytes in the file.
        len: usize,
        /// Number of bytes of the header.
        header: usize,
    },
    /// Another kind of file, another type of element or another number of dimensions.
    #[error(
        "its magic number is {found:#010x} ({}), but should be {expected:#010x} ({})",
        meaning(*found), meaning(*expected)
    )]
    Magic {
        /// The first word.
        found: u32,
        /// The magic number of the expected file.
        expected: u32,
    },
    /// The images are not 28 x 28 pixels.
    #[error("its images are {height} x {width} pixels, but should be {SIDE} x {SIDE}")]
    ImageSize {
        /// Number of rows the header claims.
        height: u32,
        /// Number of columns the header claims.
        width: u32,
    },
    /// Fewer bytes than the header claims.
    #[error(
        "it is cut short: its header claims {count} items of {claimed} bytes in all, \
         but {held} bytes follow"
    )]
    Truncated {
        /// Number of images or labels the header claims.
        count: u32,
        /// Number of bytes that they would take.
        claimed: u64,
        /// Number of bytes after the header.
        held: usize,
    },
    /// More bytes than the header claims.
    #[error("its header claims {claimed} bytes, but more bytes follow")]
    Trailing {
        /// Number of bytes that should follow the header.
        claimed: u64,
    },
    /// A label without a class.
    #[error("label number {index}, counted from 0, is {value}, but should be at most 9")]
    Label {
        /// Position of the first such label, from 0.
        index: usize,
        /// The label.
        value: u8,
    },
}

impl Contents {
    /// Length of the header, in bytes.
    pub fn header_len(self) -> usize {
        match self {
            Self::Images => 16,
            Self::Labels => 8,
        }
    }

    /// Length of an image or of a label, in bytes.
    pub fn item_len(self) -> usize {
        match self {
            Self::Images => PIXELS,
            Self::Labels => 1,
        }
    }

    /// The number of images or labels that the header of `file` claims.
    ///
    /// # Errors
    ///
    /// If the header is incomplete or belongs to another kind of file.
    pub fn count(self, file: &[u8]) -> Result<u32, IdxError> {
        let (words, _) = file.as_chunks();
        let word = |index: usize| match words.get(index) {
            Some(&word) => Ok(u32::from_be_bytes(word)),
            None => Err(IdxError::TooShort { len: file.len(), header: self.header_len() }),
        };

        let (found, expected) = (word(0)?, self.magic());
        if found != expected {
            return Err(IdxError::Magic { found, expected });
        }
        if self == Self::Images {
            let (height, width) = (word(2)?, word(3)?);
            if [height, width] != [SIDE as u32; 2] {
                return Err(IdxError::ImageSize { height, width });
            }
        }
        word(1)
    }

    /// The bytes of the images or labels in `file`, one after the other.
    ///
    /// # Errors
    ///
    /// If `file` is not exactly a header and the number of items that it claims, or a label is
    /// above 9.
    pub fn items(self, file: &[u8]) -> Result<&[u8], IdxError> {
        let count = self.count(file)?;
        let items = &file[self.header_len()..];
        let (held, claimed) = (items.len(), u64::from(count) * self.item_len() as u64);
        if (held as u64) < claimed {
            return Err(IdxError::Truncated { count, claimed, held });
        }
        if (held as u64) > claimed {
            return Err(IdxError::Trailing { claimed });
        }
        if self == Self::Labels {
            let is_wrong = |&label: &u8| Class::from_label(label).is_none();
            if let Some(index) = items.iter().position(is_wrong) {
                return Err(IdxError::Label { index, value: items[index] });
            }
        }
        Ok(items)
    }

    fn magic(self) -> u32 {
        match self {
            Self::Images => 0x803,
            Self::Labels => 0x801,
        }
    }
}

/// The contents of a file with this magic number.
fn meaning(magic: u32) -> &'static str {
    match magic {
        0x801 => "labels",
        0x803 => "images",
        0x800..=0x8ff => "bytes in another number of dimensions",
        // gzip's own magic number is the two bytes 1f 8b.
        0x1f8b_0000..=0x1f8b_ffff => "a gzip file, whose name should end in .gz",
        _ => "not an IDX file of bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::Contents::{Images, Labels};
    use super::*;

    /// A header, written out by hand as the format prescribes, and `len` bytes of 7.
    fn file(header: &[u8], len: usize) -> Vec<u8> {
        [header, &vec![7; len]].concat()
    }

    const TWO_IMAGES: [u8; 16] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28];
    const TWO_LABELS: [u8; 8] = [0, 0, 8, 1, 0, 0, 0, 2];

    #[test]
    fn items_follow_the_header() {
        assert_eq!(Images.items(&file(&TWO_IMAGES, 1568)), Ok([7; 1568].as_slice()));
        assert_eq!(Labels.items(&file(&TWO_LABELS, 2)), Ok([7, 7].as_slice()));
        assert_eq!(Labels.items(&[0, 0, 8, 1, 0, 0, 0, 0]), Ok([].as_slice()));
    }

    #[test]
    fn every_cut_within_a_header_is_too_short() {
        for len in 0..16 {
            let error = IdxError::TooShort { len, header: 16 };
            assert_eq!(Images.items(&TWO_IMAGES[..len]), Err(error));
        }
        for len in 0..8 {
            let error = IdxError::TooShort { len, header: 8 };
            assert_eq!(Labels.items(&TWO_LABELS[..len]), Err(error));
        }
    }

    #[test]
    fn a_wrong_magic_number_says_what_it_would_mean() {
        let message = |contents: Contents, magic: [u8; 4]| {
            contents.items(&file(&magic, 12)).unwrap_err().to_string()
        };
        assert_eq!(
            message(Images, [0, 0, 8, 1]),
            "its magic number is 0x00000801 (labels), but should be 0x00000803 (images)"
        );
        assert!(message(Labels, [0, 0, 8, 3]).contains("0x00000803 (images)"));
        assert!(message(Images, [0, 0, 8, 4]).contains("another number of dimensions"));
        assert!(message(Images, [0, 0, 13, 3]).contains("0x00000d03 (not an IDX file of bytes)"));
        assert!(message(Images, [0x1f, 0x8b, 8, 8]).contains("should end in .gz"));
        // Little-endian, as another program might write it.
        assert!(message(Images, [3, 8, 0, 0]).contains("0x03080000"));
    }

    #[test]
    fn images_of_another_size_are_refused() {
        let header = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0, 28];
        let error = IdxError::ImageSize { height: 32, width: 28 };
        assert_eq!(Images.items(&file(&header, 896)), Err(error));
    }

    #[test]
    fn the_length_is_what_the_header_claims() {
        let error = IdxError::Truncated { count: 2, claimed: 1568, held: 1567 };
        assert_eq!(Images.items(&file(&TWO_IMAGES, 1567)), Err(error));
        let error = IdxError::Trailing { claimed: 2 };
        assert_eq!(Labels.items(&file(&TWO_LABELS, 3)), Err(error));
    }

    #[test]
    fn a_claim_of_four_billion_images_allocates_nothing() {
        let header = [0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 28];
        assert_eq!(Images.count(&header), Ok(4_294_967_295));
        let error =
            IdxError::Truncated { count: 4_294_967_295, claimed: 3_367_254_359_280, held: 0 };
        assert_eq!(Images.items(&header), Err(error));
    }

    #[test]
    fn the_first_label_above_nine_is_named() {
        let labels = [0, 0, 8, 1, 0, 0, 0, 4, 0, 9, 17, 255];
        assert_eq!(Labels.items(&labels), Err(IdxError::Label { index: 2, value: 17 }));
    }
}
