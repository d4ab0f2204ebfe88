//! The gradient: one node of the graph for the whole layer, epilogue included.
//!
//! The node stores no activations: input, parameters and residual are checkpointed, so that Burn
//! may recompute them. Which values passed ReLU is computed again from them.

use burn::backend::{
    Autodiff, AutodiffBackend, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients as Registry,
        ops::{Backward, NodeGuard, Ops, OpsKind},
    },
    tensor::FloatTensor,
};

use crate::ops::{
    BackwardOptions, BatchNormOps, Epilogue, Gradient, Gradients, Normalized, Options,
    statistics_dtype,
};

impl<B: BatchNormOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn normalize(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_var: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
        options: Options,
    ) -> Normalized<Self> {
        let running_mean = running_mean.into_primitive();
        let running_var = running_var.into_primitive();
        let mut running = None;
        let mut statistics = None;
        let output =
            record::<B, C>(input, gamma, beta, epilogue, |input, gamma, beta, epilogue| {
                let result =
                    B::normalize(input, gamma, beta, running_mean, running_var, epilogue, options);
                running = Some((result.running_mean, result.running_var));
                statistics = Some((result.mean.clone(), result.inverse_std.clone()));
                (result.output, statistics.clone())
            });
        let (running_mean, running_var) = running.expect("the forward pass ran");
        let (mean, inverse_std) = statistics.expect("the forward pass ran");
        Normalized {
            output,
            mean: Self::from_inner(mean),
            inverse_std: Self::from_inner(inverse_std),
            running_mean: Self::from_inner(running_mean),
            running_var: Self::from_inner(running_var),
        }
    }

    fn normalize_backward(
        _input: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _beta: FloatTensor<Self>,
        _mean: FloatTensor<Self>,
        _inverse_std: FloatTensor<Self>,
        _epilogue: Epilogue<Self>,
        _output_grad: FloatTensor<Self>,
        _options: BackwardOptions,
    ) -> Gradients<Self> {
        panic!("batch norm does not support second-order gradients");
    }

    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epilogue: Epilogue<Self>,
    ) -> FloatTensor<Self> {
        record::<B, C>(input, scale, shift, epilogue, |input, scale, shift, epilogue| {
            (B::scale_and_shift(input, scale, shift, epilogue), None)
        })
    }
}

/// The mean and the inverse standard deviation of the batch; `None` if the statistics are
/// constants.
type Statistics<B> = Option<(FloatTensor<B>, FloatTensor<B>)>;

/// Runs the forward pass on the inner backend and records its node.
fn record<B: BatchNormOps, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    gamma: FloatTensor<Autodiff<B, C>>,
    beta: FloatTensor<Autodiff<B, C>>,
    epilogue: Epilogue<Autodiff<B, C>>,
    forward: impl FnOnce(
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
        Epilogue<B>,
    ) -> (FloatTensor<B>, Statistics<B>),
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [input.node(), gamma.node(), beta.node()];
    match epilogue.residual().map(|residual| residual.node()) {
        None => record_nodes::<B, C, 3>(nodes, input, gamma, beta, epilogue, forward),
        Some(residual) => {
            let [input_node, gamma_node, beta_node] = nodes;
            let nodes = [input_node, gamma_node, beta_node, residual];
            record_nodes::<B, C, 4>(nodes, input, gamma, beta, epilogue, forward)
        }
    }
}

fn record_nodes<B: BatchNormOps, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    input: FloatTensor<Autodiff<B, C>>,
    gamma: FloatTensor<Autodiff<B, C>>,
    beta: FloatTensor<Autodiff<B, C>>,
    epilogue: Epilogue<Autodiff<B, C>>,
    forward: impl FnOnce(
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
        Epilogue<B>,
    ) -> (FloatTensor<B>, Statistics<B>),
) -> FloatTensor<Autodiff<B, C>> {
    let forward = |input: FloatTensor<Autodiff<B, C>>,
                   gamma: FloatTensor<Autodiff<B, C>>,
                   beta: FloatTensor<Autodiff<B, C>>,
                   epilogue: Epilogue<Autodiff<B, C>>| {
        forward(
            input.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            epilogue.map(|residual| residual.into_primitive()),
        )
    };
    match NormalizeBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let inputs = Inputs {
                input: prep.checkpoint(&input),
                gamma: prep.checkpoint(&gamma),
                beta: prep.checkpoint(&beta),
                rectified: !matches!(epilogue, Epilogue::Identity),
                residual: epilogue.residual().map(|residual| prep.checkpoint(residual)),
            };
            let (output, statistics) = forward(input, gamma, beta, epilogue);
            prep.finish((inputs, statistics), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(input, gamma, beta, epilogue).0),
    }
}

/// The checkpointer's nodes for the inputs of the forward pass.
#[derive(Clone, Copy, Debug)]
struct Inputs {
    input: NodeId,
    gamma: NodeId,
    beta: NodeId,
    rectified: bool,
    residual: Option<NodeId>,
}

#[derive(Debug)]
struct NormalizeBackward;

/// The parents are input, gamma, beta and, if there is one, the residual.
impl<B: BatchNormOps, const N: usize> Backward<B, N> for NormalizeBackward {
    type State = (Inputs, Statistics<B>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        registry: &mut Registry,
        checkpointer: &mut Checkpointer,
    ) {
        let output_grad = registry.consume::<B>(&ops.node);
        let (inputs, statistics) = ops.state;
        let mut retrieve = |id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id);
        let input = retrieve(inputs.input);
        let gamma = retrieve(inputs.gamma);
        let beta = retrieve(inputs.beta);
        let epilogue = match inputs.residual {
            Some(residual) => Epilogue::AddRelu(retrieve(residual)),
            None if inputs.rectified => Epilogue::Relu,
            None => Epilogue::Identity,
        };

        let mut parents = ops.parents.into_iter();
        let mut parent = || parents.next().flatten();
        let (input_node, gamma_node, beta_node, residual_node) =
            (parent(), parent(), parent(), parent());
        let options = BackwardOptions {
            batch_statistics: statistics.is_some(),
            input: input_node.is_some(),
            parameters: gamma_node.is_some() || beta_node.is_some(),
            residual: residual_node.is_some(),
        };
        let (mean, inverse_std) = statistics.unwrap_or_else(|| {
            // Scale and shift were given: as if the input were normalized already.
            let (shape, device) = (gamma.shape(), gamma.device());
            let dtype = statistics_dtype(gamma.dtype()).into();
            (B::float_zeros(shape.clone(), &device, dtype), B::float_ones(shape, &device, dtype))
        });

        let gradients = B::normalize_backward(
            input,
            gamma,
            beta,
            mean,
            inverse_std,
            epilogue,
            output_grad,
            options,
        );
        for (node, gradient) in [
            (input_node, gradients.input),
            (gamma_node, gradients.gamma),
            (beta_node, gradients.beta),
            (residual_node, gradients.residual),
        ] {
            if let (Some(node), Gradient::Wanted(gradient)) = (node, gradient) {
                registry.register::<B>(node.id, gradient);
            }
        }
    }
}
