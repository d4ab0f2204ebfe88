//! Values of keys: their defaults, which are valid, and their JSON schemas.

use std::num::NonZeroUsize;

use fashion_mnist::SIDE;
use models::{Architecture, Preset};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

/// A range of numbers.
struct Numbers {
    /// The smallest number, or one that all are above.
    from: Option<f64>,
    above: Option<f64>,
    /// The largest number, or one that all are below.
    to: Option<f64>,
    below: Option<f64>,
}

const ANY: Numbers = Numbers { from: None, above: None, to: None, below: None };
const POSITIVE: Numbers = Numbers { above: Some(0.0), ..ANY };
const NOT_NEGATIVE: Numbers = Numbers { from: Some(0.0), ..ANY };
const SHARE: Numbers = Numbers { from: Some(0.0), below: Some(1.0), ..ANY };
const PROBABILITY: Numbers = Numbers { from: Some(0.0), to: Some(1.0), ..ANY };

impl Numbers {
    fn contain(&self, number: f64) -> bool {
        number.is_finite()
            && self.from.is_none_or(|from| number >= from)
            && self.above.is_none_or(|above| number > above)
            && self.to.is_none_or(|to| number <= to)
            && self.below.is_none_or(|below| number < below)
    }

    /// The range in words, such as `from 0 to below 1`.
    fn words(&self) -> String {
        let ends = [("from", self.from), ("above", self.above), ("to", self.to)];
        let mut words: Vec<String> =
            ends.iter().filter_map(|(word, end)| Some(format!("{word} {}", (*end)?))).collect();
        if let Some(below) = self.below {
            words.push(format!("to below {below}"));
        }
        words.join(" ")
    }

    fn deserialize<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<f64, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if self.contain(number) {
            Ok(number)
        } else {
            Err(D::Error::custom(format!("expected a number {}, not {number}", self.words())))
        }
    }

    fn schema(&self) -> Schema {
        let mut schema = json_schema!({ "type": "number" });
        for (key, end) in [
            ("minimum", self.from),
            ("exclusiveMinimum", self.above),
            ("maximum", self.to),
            ("exclusiveMaximum", self.below),
        ] {
            if let Some(end) = end {
                schema.insert(key.to_owned(), end.into());
            }
        }
        schema
    }
}

pub fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    POSITIVE.deserialize(deserializer)
}

pub fn positive_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    POSITIVE.deserialize(deserializer).map(Some)
}

pub fn positive_schema(_: &mut SchemaGenerator) -> Schema {
    POSITIVE.schema()
}

pub fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    NOT_NEGATIVE.deserialize(deserializer)
}

pub fn not_negative_schema(_: &mut SchemaGenerator) -> Schema {
    NOT_NEGATIVE.schema()
}

pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    SHARE.deserialize(deserializer)
}

pub fn share_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    SHARE.deserialize(deserializer).map(Some)
}

pub fn share_schema(_: &mut SchemaGenerator) -> Schema {
    SHARE.schema()
}

pub fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    PROBABILITY.deserialize(deserializer)
}

pub fn probability_schema(_: &mut SchemaGenerator) -> Schema {
    PROBABILITY.schema()
}

pub fn rising_shares<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let shares = Vec::<f64>::deserialize(deserializer)?;
    let rising = shares.windows(2).all(|pair| pair[0] < pair[1]);
    if rising && shares.iter().all(|&share| SHARE.contain(share)) {
        Ok(shares)
    } else {
        Err(D::Error::custom(format!(
            "expected rising shares of the run, each {}, not {shares:?}",
            SHARE.words()
        )))
    }
}

pub fn rising_shares_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": SHARE.schema() })
}

pub fn border<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let pixels = usize::deserialize(deserializer)?;
    if pixels < SIDE {
        Ok(pixels)
    } else {
        Err(D::Error::custom(format!(
            "expected a number of pixels below the image's {SIDE}, not {pixels}"
        )))
    }
}

pub fn border_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "exclusiveMaximum": SIDE })
}

pub fn networks_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": Architecture::ALL.map(Architecture::name) })
}

pub fn presets_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": Preset::ALL.map(Preset::name) })
}

pub fn d2l() -> Preset {
    Preset::D2l
}

pub fn yes() -> bool {
    true
}

pub fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}
