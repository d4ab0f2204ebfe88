use std::{sync::Arc, time::Instant};

use burn::{
    tensor::TensorReadError,
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry,
    },
};

/// Images trained on per second since the epoch's first step, which is left out: on a GPU it is
/// spent on compiling kernels. Not a number in an epoch of one step.
#[derive(Clone, Debug)]
pub(crate) struct ImagesPerSecond {
    first_step: Option<(Instant, usize)>,
    value: f64,
}

pub(crate) const NAME: &str = "Images/s";

impl Default for ImagesPerSecond {
    fn default() -> Self {
        Self { first_step: None, value: f64::NAN }
    }
}

impl ImagesPerSecond {
    fn entry(&self) -> SerializedEntry {
        SerializedEntry::new(format!("{:.0} images/s", self.value), self.value.to_string())
    }
}

impl Metric for ImagesPerSecond {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::new(NAME.to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = Some("images/s".to_owned());
        NumericAttributes { unit, higher_is_better: true }.into()
    }

    fn update(
        &mut self,
        (): &(),
        metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let images = metadata.progress.items_processed;
        match self.first_step {
            Some((start, before)) => {
                self.value = (images - before) as f64 / start.elapsed().as_secs_f64();
            }
            None => self.first_step = Some((Instant::now(), images)),
        }
        Ok(self.entry())
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Numeric for ImagesPerSecond {
    fn value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.value))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.value)
    }
}
