//! The host side: launches the kernels of a [`Plan`] with their buffers.

use std::fmt;

use burn::tensor::DType;
use burn_cubecl::{
    CubeBackend,
    kernel::{cast, into_contiguous},
    tensor::CubeTensor,
};
use cubecl::{
    client::Client,
    ir::ElemType,
    prelude::{BufferArg, ComptimeOptionArgs, LaunchArg},
    server::Handle,
    zspace::metadata::Metadata,
};

use super::{
    backward::{self, coefficient, sum},
    normalize,
    plan::{Abilities, Arrangement, Division, Plan, Vectors, element, elementwise},
    statistics::{self, RatesLaunch, row},
};
use crate::ops::{
    BackwardOptions, Epilogue, Gradient, Gradients, Normalized, Options, Spec, assert_countable,
    assert_epsilon,
};

/// The plan of a pass that needs no sums, for the log.
const WITHOUT_SUMS: &str = "one kernel, every value by itself";

/// The tensors of one pass that have the input's shape, in one common arrangement.
pub struct Pass {
    client: Client,
    abilities: Abilities,
    arrangement: Arrangement,
    vectors: Vectors,
    dtype: ElemType,
    input: CubeTensor,
    output_grad: Option<CubeTensor>,
    residual: Option<CubeTensor>,
    has_relu: bool,
}

// SAFETY of all launches below: the kernels index their buffers only where `Layout` and `Grid` say
// there are values, and these describe the tensors that are bound with them; their loops end.
impl Pass {
    /// Prepares a pass.
    pub fn new(
        input: CubeTensor,
        output_grad: Option<CubeTensor>,
        epilogue: Epilogue<CubeBackend>,
    ) -> Self {
        let abilities = Abilities::of(&input.client);
        Self::with_abilities(input, output_grad, epilogue, abilities)
    }

    /// The same with these abilities in place of those that the device reports.
    pub fn with_abilities(
        input: CubeTensor,
        output_grad: Option<CubeTensor>,
        epilogue: Epilogue<CubeBackend>,
        abilities: Abilities,
    ) -> Self {
        let has_relu = !matches!(epilogue, Epilogue::Identity);
        let residual = match epilogue {
            Epilogue::AddRelu(residual) => Some(residual),
            Epilogue::Identity | Epilogue::Relu => None,
        };
        assert_countable(input.meta.shape());
        Spec::of(&input).assert_fits(output_grad.iter().chain(&residual).map(Spec::of), [], []);
        let has_output_grad = output_grad.is_some();
        let tensors = [Some(input), output_grad, residual].into_iter().flatten().collect();
        let (arrangement, tensors) = Arrangement::shared(tensors);
        let vectors = Vectors::of(arrangement, &tensors);
        let mut tensors = tensors.into_iter();
        let input = tensors.next().expect("the input is the first");
        Self {
            client: input.client.clone(),
            abilities,
            arrangement,
            vectors,
            dtype: element(input.dtype),
            output_grad: if has_output_grad { tensors.next() } else { None },
            residual: tensors.next(),
            input,
            has_relu,
        }
    }

    /// See [`crate::ops::BatchNormOps::normalize`].
    pub fn normalize(
        self,
        gamma: CubeTensor,
        beta: CubeTensor,
        running: [CubeTensor; 2],
        options: Options,
    ) -> Normalized<CubeBackend> {
        assert_epsilon(options.epsilon, self.input.dtype);
        let running_like = running.each_ref().map(Spec::of);
        Spec::of(&self.input).assert_fits([], [&gamma, &beta].map(Spec::of), running_like);
        let [gamma, beta] = [gamma, beta].map(into_contiguous);
        let [running_mean, running_var] = running.map(into_contiguous);
        let rates = || {
            let correction = options.correction(self.arrangement.values()) as f32;
            RatesLaunch::new(options.epsilon as f32, options.momentum as f32, correction)
        };
        let output = self.like_input();
        let statistics = Rows::new(&self.input, row::COUNT);
        let (lanes, channel_lanes) = (self.vectors.lanes, self.vectors.channel_lanes);

        let plan = Plan::forward(&self.vectors, self.residual.is_some(), self.abilities);
        self.log("forward", &plan);
        match plan {
            Plan::AtOnce { channels, kept } => unsafe {
                normalize::normalize_at_once::launch_unchecked(
                    &self.client,
                    channels.count(&self.client),
                    channels.cube.dim(),
                    lanes,
                    channel_lanes,
                    whole(&self.input),
                    whole(&gamma),
                    whole(&beta),
                    whole(&running_mean),
                    whole(&running_var),
                    optional(&self.residual),
                    whole(&output),
                    statistics.whole(),
                    self.vectors.layout(),
                    channels.grid(),
                    statistics.pitch / channel_lanes,
                    rates(),
                    kept,
                    self.has_relu,
                    channels.cube,
                    self.dtype,
                );
            },
            Plan::Split { parts, merge } => {
                let partials = self.partials(&parts);
                let (count, dim) = elementwise(&self.client, self.vectors.total(), self.abilities);
                unsafe {
                    statistics::partial_statistics::launch_unchecked(
                        &self.client,
                        parts.count(&self.client),
                        parts.cube.dim(),
                        lanes,
                        channel_lanes,
                        whole(&self.input),
                        partials.whole(),
                        self.vectors.layout(),
                        parts.grid(),
                        parts.chunks(),
                        parts.cube,
                        self.dtype,
                    );
                    statistics::finish_statistics::launch_unchecked(
                        &self.client,
                        merge.count(&self.client),
                        merge.cube.dim(),
                        1,
                        partials.whole(),
                        whole(&running_mean),
                        whole(&running_var),
                        statistics.whole(),
                        merge.grid(),
                        parts.chunk * lanes / channel_lanes,
                        self.arrangement.values(),
                        statistics.pitch,
                        rates(),
                        merge.cube,
                    );
                    normalize::normalize::launch_unchecked(
                        &self.client,
                        count,
                        dim,
                        lanes,
                        channel_lanes,
                        whole(&self.input),
                        whole(&gamma),
                        whole(&beta),
                        statistics.whole(),
                        optional(&self.residual),
                        whole(&output),
                        self.vectors.layout(),
                        self.vectors.total(),
                        statistics.pitch / channel_lanes,
                        self.has_relu,
                        self.dtype,
                    );
                }
            }
        }
        Normalized {
            output,
            mean: statistics.row(row::MEAN),
            inverse_std: statistics.row(row::INVERSE_STD),
            running_mean: statistics.row(row::RUNNING_MEAN),
            running_var: statistics.row(row::RUNNING_VAR),
        }
    }

    /// See [`crate::ops::BatchNormOps::normalize_backward`].
    pub fn backward(
        mut self,
        per_channel: [CubeTensor; 4],
        options: BackwardOptions,
    ) -> Gradients<CubeBackend> {
        let [gamma, beta, mean, inverse_std] = per_channel.map(into_contiguous);
        let statistics = [&mean, &inverse_std].map(Spec::of);
        Spec::of(&self.input).assert_fits([], [&gamma, &beta].map(Spec::of), statistics);
        let output_grad = self.output_grad.take().expect("the backward pass has a gradient");
        let packed = self.pack(&gamma, &beta, &mean, &inverse_std);
        let residual_wanted = options.residual && self.residual.is_some();

        let plan = Plan::backward(&self.vectors, options, self.abilities);
        match &plan {
            Some(plan) => self.log("backward", plan),
            None => self.log("backward", &WITHOUT_SUMS),
        }
        let sums = plan.map(|_| Rows::new(&self.input, sum::COUNT));
        let sums_of_x = sums.as_ref().filter(|_| options.input_needs_sums());
        let input_grad = options.input.then(|| self.like_input());
        let residual_grad = residual_wanted.then(|| self.like_input());

        match plan.zip(sums.as_ref()) {
            Some((Plan::AtOnce { channels, kept }, sums)) => unsafe {
                let input_grad = input_grad.as_ref().expect("this plan is for x's gradient");
                backward::backward_at_once::launch_unchecked(
                    &self.client,
                    channels.count(&self.client),
                    channels.cube.dim(),
                    self.vectors.lanes,
                    self.vectors.channel_lanes,
                    whole(&self.input),
                    whole(&output_grad),
                    packed.whole(),
                    optional(&self.residual),
                    whole(input_grad),
                    optional(&residual_grad),
                    sums.whole(),
                    self.vectors.layout(),
                    channels.grid(),
                    sums.pitch / self.vectors.channel_lanes,
                    self.arrangement.values() as f32,
                    kept,
                    self.has_relu,
                    channels.cube,
                    self.dtype,
                );
            },
            Some((Plan::Split { parts, merge }, sums)) => {
                self.add_up([parts, merge], &output_grad, &packed, &residual_grad, sums);
                if options.input {
                    // If g has been written, it is read again instead of being recomputed.
                    let g = match &residual_grad {
                        Some(written) => {
                            self.residual = None;
                            self.has_relu = false;
                            written
                        }
                        None => &output_grad,
                    };
                    self.differentiate(g, &packed, sums_of_x, &input_grad, &None);
                }
            }
            None if options.input || residual_wanted => {
                self.differentiate(&output_grad, &packed, None, &input_grad, &residual_grad);
            }
            None => {}
        }

        let parameter = |row: usize| match &sums {
            Some(sums) if options.parameters => Gradient::Wanted(cast(sums.row(row), gamma.dtype)),
            _ => Gradient::Unwanted,
        };
        let gradient = |tensor: Option<CubeTensor>| match tensor {
            Some(tensor) => Gradient::Wanted(tensor),
            None => Gradient::Unwanted,
        };
        Gradients {
            gamma: parameter(sum::GAMMA),
            beta: parameter(sum::BETA),
            input: gradient(input_grad),
            residual: gradient(residual_grad),
        }
    }

    /// See [`crate::ops::BatchNormOps::scale_and_shift`].
    pub fn scale_and_shift(self, scale: CubeTensor, shift: CubeTensor) -> CubeTensor {
        Spec::of(&self.input).assert_fits([], [&scale, &shift].map(Spec::of), []);
        self.log("prediction", &WITHOUT_SUMS);
        let [scale, shift] = [scale, shift].map(into_contiguous);
        let (count, dim) = elementwise(&self.client, self.vectors.total(), self.abilities);
        // In place if the input has no other owner.
        let (output, output_arg) = if self.input.can_mut() {
            (self.input.clone(), BufferArg::alias(0, self.vectors.total()))
        } else {
            let output = self.like_input();
            (output.clone(), whole(&output))
        };
        unsafe {
            normalize::scale_and_shift::launch_unchecked(
                &self.client,
                count,
                dim,
                self.vectors.lanes,
                self.vectors.channel_lanes,
                whole(&self.input),
                whole(&scale),
                whole(&shift),
                optional(&self.residual),
                output_arg,
                self.vectors.layout(),
                self.vectors.total(),
                self.has_relu,
                self.dtype,
            );
        }
        output
    }

    /// The two sums of each channel and, if there is a tensor for it, the residual's gradient.
    fn add_up(
        &self,
        [parts, merge]: [Division; 2],
        output_grad: &CubeTensor,
        packed: &Floats,
        residual_grad: &Option<CubeTensor>,
        sums: &Rows,
    ) {
        let partials = self.partials(&parts);
        unsafe {
            backward::partial_sums::launch_unchecked(
                &self.client,
                parts.count(&self.client),
                parts.cube.dim(),
                self.vectors.lanes,
                self.vectors.channel_lanes,
                whole(&self.input),
                whole(output_grad),
                packed.whole(),
                optional(&self.residual),
                partials.whole(),
                optional(residual_grad),
                self.vectors.layout(),
                parts.grid(),
                parts.chunks(),
                self.has_relu,
                parts.cube,
                self.dtype,
            );
            backward::finish_sums::launch_unchecked(
                &self.client,
                merge.count(&self.client),
                merge.cube.dim(),
                1,
                partials.whole(),
                sums.whole(),
                merge.grid(),
                sums.pitch,
                merge.cube,
            );
        }
    }

    /// The gradients of the input and the residual, each if there is a tensor for it.
    fn differentiate(
        &self,
        output_grad: &CubeTensor,
        packed: &Floats,
        sums: Option<&Rows>,
        input_grad: &Option<CubeTensor>,
        residual_grad: &Option<CubeTensor>,
    ) {
        let (count, dim) = elementwise(&self.client, self.vectors.total(), self.abilities);
        let pitch = sums.map_or(0, |sums| sums.pitch);
        unsafe {
            backward::input_gradient::launch_unchecked(
                &self.client,
                count,
                dim,
                self.vectors.lanes,
                self.vectors.channel_lanes,
                whole(&self.input),
                whole(output_grad),
                packed.whole(),
                optional(&self.residual),
                sums.map(Rows::whole).into(),
                optional(input_grad),
                optional(residual_grad),
                self.vectors.layout(),
                self.vectors.total(),
                self.vectors.groups(),
                pitch / self.vectors.channel_lanes,
                self.arrangement.values() as f32,
                self.has_relu,
                self.dtype,
            );
        }
    }

    /// The values per channel that the backward kernels need, in one buffer.
    fn pack(
        &self,
        gamma: &CubeTensor,
        beta: &CubeTensor,
        mean: &CubeTensor,
        inverse_std: &CubeTensor,
    ) -> Floats {
        let channels = self.arrangement.channels;
        let packed = Floats::new(&self.client, coefficient::COUNT * channels);
        let (count, dim) = elementwise(&self.client, channels, self.abilities);
        unsafe {
            backward::pack::launch_unchecked(
                &self.client,
                count,
                dim,
                whole(gamma),
                whole(beta),
                whole(mean),
                whole(inverse_std),
                packed.whole(),
                channels,
                self.dtype,
            );
        }
        packed
    }

    fn log(&self, pass: &str, plan: &dyn fmt::Display) {
        let (shape, order) = (self.input.meta.shape(), self.vectors.order());
        log::debug!("{pass} of {shape:?}, {order}: {plan}");
    }

    /// A buffer for two results per channel and part.
    fn partials(&self, parts: &Division) -> Floats {
        Floats::new(&self.client, 2 * self.arrangement.channels * parts.chunks())
    }

    /// A new tensor of the input's shape and strides.
    fn like_input(&self) -> CubeTensor {
        let Arrangement { rows, pitch, .. } = self.arrangement;
        let handle = self.client.empty(rows * pitch * self.input.dtype.size());
        CubeTensor { handle, ..self.input.clone() }
    }
}

/// A buffer of f32.
struct Floats {
    handle: Handle,
    length: usize,
}

impl Floats {
    fn new(client: &Client, length: usize) -> Self {
        Self { handle: client.empty(length * size_of::<f32>()), length }
    }

    fn whole(&self) -> BufferArg {
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.length) }
    }
}

/// Several tensors `[channels]` of f32 in one buffer, so that a kernel binds it once.
struct Rows {
    floats: Floats,
    /// From one row to the next, in values: a buffer can be bound only at aligned offsets.
    pitch: usize,
    like: CubeTensor,
    channels: usize,
}

impl Rows {
    /// Rows for the channels of the input.
    fn new(input: &CubeTensor, rows: usize) -> Self {
        let channels = input.meta.shape()[1];
        let alignment = input.client.properties().memory.alignment.max(16) as usize;
        let pitch = (channels * size_of::<f32>()).next_multiple_of(alignment) / size_of::<f32>();
        let floats = Floats::new(&input.client, rows * pitch);
        Self { floats, pitch, like: input.clone(), channels }
    }

    /// One row as a tensor.
    fn row(&self, row: usize) -> CubeTensor {
        let bytes = |values: usize| (values * size_of::<f32>()) as u64;
        let before = row * self.pitch;
        let after = self.floats.length - before - self.channels;
        let handle = self.floats.handle.clone();
        CubeTensor {
            handle: handle.offset_start(bytes(before)).offset_end(bytes(after)),
            meta: Box::new(Metadata::new([self.channels], [1])),
            dtype: DType::F32,
            ..self.like.clone()
        }
    }

    fn whole(&self) -> BufferArg {
        self.floats.whole()
    }
}

/// The whole tensor as a kernel's argument.
fn whole(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// A tensor as a kernel's argument, if there is one.
fn optional<T: LaunchArg<RuntimeArg = BufferArg>>(
    tensor: &Option<CubeTensor>,
) -> ComptimeOptionArgs<T> {
    tensor.as_ref().map(whole).into()
}
