//! Checks of a config that depend on several keys.

use burn::tensor::Device;
use models::ConvNet;

use super::schema::{
    Config, OptimizerConfig, OptimizerName, ScheduleConfig, ScheduleName, TRAINING_IMAGES,
};
use crate::DeviceName;

impl Config {
    /// Checks what depends on several keys. The error is one of the keys, and what is wrong.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if let Err(error) = self.network.config(self.preset) {
            return Err(("network", error.to_string()));
        }
        let (images, batch) = (self.training_images(), self.batch_size.get());
        if images == 0 {
            let validation = self.data.validation;
            let why = format!(
                "data.validation = {validation} leaves none of the {TRAINING_IMAGES} training \
                 images to train on"
            );
            return Err(("validation", why));
        }
        if batch > images {
            let why = format!("batch_size = {batch} is more than the {images} images to train on");
            return Err(("batch_size", why));
        }
        self.check_keys()?;
        if self.accumulate.get() > images.div_ceil(batch) {
            let why = format!(
                "accumulate = {} is more than the {} batches of an epoch",
                self.accumulate,
                images.div_ceil(batch)
            );
            return Err(("accumulate", why));
        }
        let devices = self.devices.len().max(1);
        let last = (images - 1) % batch + 1;
        if batch < devices {
            let why = format!("batch_size = {batch} gives some of the {devices} devices no image");
            return Err(("batch_size", why));
        }
        // Each device's part of a batch is normalized separately.
        let network = || self.network_config().init(&Device::flex());
        if last / devices <= 1 && network().has_batch_norm() {
            let what = if devices == 1 { "batch" } else { "device's part of a batch" };
            let why = format!(
                "with batch_size = {batch}, a {what} has only one of the {images} images, which is \
                 too few for batch normalization: choose another batch_size or data.limit"
            );
            return Err(("batch_size", why));
        }
        Ok(())
    }

    /// Checks for keys that contradict each other or that are unused because of another key's
    /// value.
    fn check_keys(&self) -> Result<(), (&'static str, String)> {
        match (self.epochs, self.minutes) {
            (None, None) => {
                return Err((
                    "network",
                    "neither `epochs` nor `minutes` is given: add one of them".to_owned(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(("minutes", "`epochs` and `minutes`: give one of them".to_owned()));
            }
            _ => {}
        }
        if !self.devices.is_empty() && self.device != DeviceName::Auto {
            return Err(("devices", "`device` and `devices`: give one of them".to_owned()));
        }

        let OptimizerConfig { name, momentum, nesterov, beta1, beta2, .. } = self.optimizer;
        let given = [momentum > 0.0, nesterov, beta1.is_some(), beta2.is_some()];
        for (key, given) in OptimizerName::KEYS.into_iter().zip(given) {
            if given && !name.has(key) {
                return Err((key, format!("the optimizer {} has no {key}", name.name())));
            }
        }
        if nesterov && momentum == 0.0 {
            return Err(("nesterov", "nesterov = true needs a momentum above 0".to_owned()));
        }

        let ScheduleConfig { name, ref milestones, factor, final_factor, .. } = self.schedule;
        let given = [!milestones.is_empty(), factor.is_some(), final_factor > 0.0];
        for (key, given) in ScheduleName::KEYS.into_iter().zip(given) {
            if given && !name.has(key) {
                return Err((key, format!("the schedule {} has no {key}", name.name())));
            }
        }
        if let Some(first) = milestones.first()
            && *first < self.schedule.warmup.unwrap_or_default()
        {
            let why = "the first milestone is in the warm-up";
            return Err(("milestones", why.to_owned()));
        }
        if name == ScheduleName::Step && milestones.is_empty() {
            let why = "the schedule `step` needs milestones, such as [0.5, 0.75]";
            return Err(("[schedule]", why.to_owned()));
        }
        Ok(())
    }
}
