//! Errors for values that are not finite and for failed devices, with advice.

use std::fmt::Write;

use burn::data::dataset::DatasetError;

use crate::Error;

/// The metrics of a training step, read from the device as one row.
pub(crate) struct Row<'a> {
    /// The step, counted from 1 over the run.
    pub step: usize,
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the step's images.
    pub loss: f64,
    /// The squared norm of each weight's gradient, in the order of the network.
    pub squared_gradients: &'a [f64],
    /// The names of those weights.
    pub names: &'a [String],
}

impl Row<'_> {
    /// Whether all values are finite.
    pub fn is_sound(&self) -> bool {
        self.loss.is_finite() && self.squared_gradients.iter().all(|square| square.is_finite())
    }

    /// The error that ends the run. `positions` are those of the step's images in the training
    /// file; `weights` are the squared norms of the weights before the step, in the order of the
    /// network, if they are still available.
    pub fn error(&self, positions: &[usize], weights: Option<&[f64]>) -> Error {
        let Self { step, epoch, loss, .. } = self;
        let mut why = match self.loss.is_finite() {
            // Or its square is not: a norm above 1e19.
            true => format!("step {step} (epoch {epoch}): the gradient is not finite"),
            false => format!("step {step} (epoch {epoch}): the loss is {loss}"),
        };
        if let Some(layer) = self.layer(weights) {
            write!(why, "; {layer}").expect("writing to a string cannot fail");
        }
        write!(
            why,
            "\nimages of the step, by their number in the training file: {}\nIf a smaller \
             learning rate, a warm-up (`schedule.warmup`) or `optimizer.clip_norm` do not help, \
             check the images and the initial weights",
            ranges(positions)
        )
        .expect("writing to a string cannot fail");
        Error::Training(why)
    }

    /// The first weight with values that are not finite, if it is known.
    fn layer(&self, weights: Option<&[f64]>) -> Option<String> {
        let unsound = |squares: &[f64]| squares.iter().map(|s| !s.is_finite()).collect::<Vec<_>>();
        if let Some(weights) = weights {
            if let Some(first) = unsound(weights).iter().position(|&bad| bad) {
                return Some(format!("the weight {} is not finite", self.names[first]));
            }
            if !self.loss.is_finite() {
                let largest =
                    (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]))?;
                return Some(format!(
                    "all weights are finite, and the largest is {}, with a norm of {:.3e}",
                    self.names[largest],
                    weights[largest].sqrt()
                ));
            }
        }
        // The backward pass goes from the last weight to the first.
        let bad = unsound(self.squared_gradients);
        let last = bad.iter().rposition(|&bad| bad)?;
        if bad.iter().all(|&bad| bad) {
            None
        } else {
            Some(format!("it begins at the weight {}", self.names[last]))
        }
    }
}

/// Lists numbers, consecutive ones as ranges; a long list is truncated.
fn ranges(numbers: &[usize]) -> String {
    const MOST: usize = 64;
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in sorted {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => parts.push((number, number)),
        }
    }
    let shown = parts.iter().take(MOST).map(|&(start, end)| {
        if start == end { start.to_string() } else { format!("{start}-{end}") }
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if parts.len() > MOST { format!("{shown}, ... ({} in all)", numbers.len()) } else { shown }
}

/// The error message of a backend, with advice for the known failures.
pub(crate) fn advise(message: &str) -> String {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let advice = if says(&["out of memory", "outofmemory", "memory allocation", "failed to alloc"])
    {
        "The device does not have enough memory: choose a smaller batch_size (with `accumulate`, a \
         step still has as many images), a smaller network, or another device"
    } else if says(&["device lost", "devicelost", "device is lost", "device was lost"]) {
        "The device was lost: its driver was reset, or it was removed or suspended. Resume the \
         run, if necessary on another device (`--device`)"
    } else if says(&["websocket", "connection", "remote", "session"]) {
        "The server of the remote device does not answer. Resume the run when the server runs \
         again, or on this machine with `--device flex`"
    } else {
        return message.to_owned();
    };
    format!("{message}\n{advice}")
}

/// The error for a batch that cannot be loaded.
pub(crate) fn broken_batch(error: DatasetError) -> Error {
    Error::Training(format!("cannot load a batch: {error}"))
}

/// The error for a panic. Backends panic when an operation fails.
pub(crate) fn describe(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::Training(format!("the computation failed: {}", advise(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(loss: f64, squared_gradients: &'a [f64], names: &'a [String]) -> Row<'a> {
        Row { step: 7, epoch: 2, loss, squared_gradients, names }
    }

    #[test]
    fn the_layer_where_it_began_is_named() {
        let names = ["conv1", "conv2", "fc"].map(str::to_owned);
        let nan = f64::NAN;
        assert!(row(1.0, &[1.0, 2.0, 3.0], &names).is_sound());

        let squares = [nan, nan, 3.0];
        let gradient = row(1.0, &squares, &names);
        assert!(!gradient.is_sound());
        let message = gradient.error(&[5, 3, 4, 9], None).to_string();
        assert!(message.starts_with(
            "step 7 (epoch 2): the gradient is not finite; it begins at the weight conv2"
        ));
        assert!(message.contains("training file: 3-5, 9\n"), "{message}");

        let squares = [nan; 3];
        let loss = row(nan, &squares, &names);
        let weights = [1.0, nan, 1.0];
        let message = loss.error(&[1], Some(&weights)).to_string();
        assert!(message.contains("the loss is NaN; the weight conv2 is not finite"), "{message}");
        let weights = [1.0, 1e20, 1.0];
        let message = loss.error(&[1], Some(&weights)).to_string();
        assert!(message.contains("the largest is conv2, with a norm of 1.000e10"), "{message}");
    }

    #[test]
    fn devices_that_fail_are_explained() {
        assert!(advise("wgpu error: Out of Memory").contains("smaller batch_size"));
        assert!(advise("Parent device is lost").contains("driver was reset"));
        assert_eq!(advise("index out of bounds"), "index out of bounds");
    }
}
