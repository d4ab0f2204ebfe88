//! The gradients: one node of the graph for each operation, epilogues included.

use std::sync::{Arc, Mutex};

use burn::backend::{
    Autodiff, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients as Registry,
        ops::{Backward, NodeGuard, Ops, OpsKind, unary},
    },
    tensor::FloatTensor,
};

use crate::ops::{Convolution, ConvolutionOps, Gradients, Optional, Pool, Wanted};

impl<B: ConvolutionOps, C: CheckpointStrategy> ConvolutionOps for Autodiff<B, C> {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        residual: Optional<Self>,
        options: Convolution,
    ) -> FloatTensor<Self> {
        let (of_input, of_weight) = (input.node(), weight.node());
        match (bias.get_ref(), residual.get_ref()) {
            (None, None) => {
                let nodes = [of_input, of_weight];
                record::<B, C, 2>(nodes, input, weight, bias, residual, options)
            }
            (Some(other), None) | (None, Some(other)) => {
                let nodes = [of_input, of_weight, other.node()];
                record::<B, C, 3>(nodes, input, weight, bias, residual, options)
            }
            (Some(of_bias), Some(of_residual)) => {
                let nodes = [of_input, of_weight, of_bias.node(), of_residual.node()];
                record::<B, C, 4>(nodes, input, weight, bias, residual, options)
            }
        }
    }

    fn convolve_backward(
        _input: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _output: Optional<Self>,
        _output_grad: FloatTensor<Self>,
        _options: Convolution,
        _wanted: Wanted,
    ) -> Gradients<Self> {
        panic!("convolution does not support second-order gradients");
    }

    fn pool(input: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self> {
        match PoolBackward.prepare::<C>([input.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&input), pool);
                prep.finish(state, B::pool(input.into_primitive(), pool))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::pool(input.into_primitive(), pool)),
        }
    }

    fn pool_backward(
        _input: FloatTensor<Self>,
        _output_grad: FloatTensor<Self>,
        _pool: Pool,
    ) -> FloatTensor<Self> {
        panic!("pooling does not support second-order gradients");
    }

    fn fork(input: FloatTensor<Self>, count: usize) -> Vec<FloatTensor<Self>> {
        let sum: Sum<B> = Arc::default();
        let gate = match ForkBackward.prepare::<C>([input.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(sum.clone(), input.into_primitive()),
            OpsKind::UnTracked(prep) => {
                let output = prep.finish(input.into_primitive());
                return vec![output; count];
            }
        };
        let branch = |_| {
            let prepared = BranchBackward.prepare::<C>([gate.node()]).compute_bound().stateful();
            match prepared {
                OpsKind::Tracked(prep) => prep.finish(sum.clone(), gate.primitive().clone()),
                OpsKind::UnTracked(prep) => prep.finish(gate.primitive().clone()),
            }
        };
        (0..count).map(branch).collect()
    }

    fn weighted_sum(
        _a: FloatTensor<Self>,
        _b: FloatTensor<Self>,
        _factors: [f32; 2],
    ) -> FloatTensor<Self> {
        panic!("a weighted sum is for gradients and weights, and has no gradient");
    }

    fn sum_of_squares(_input: FloatTensor<Self>) -> FloatTensor<Self> {
        panic!("a sum of squares is for gradients and weights, and has no gradient");
    }

    fn concatenate(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: Optional<Self>,
        fourth: Optional<Self>,
    ) -> FloatTensor<Self> {
        match (third.get(), fourth.get()) {
            (None, None) => concatenate::<B, C, 2>([first, second]),
            (Some(third), None) | (None, Some(third)) => {
                concatenate::<B, C, 3>([first, second, third])
            }
            (Some(third), Some(fourth)) => concatenate::<B, C, 4>([first, second, third, fourth]),
        }
    }

    fn separate(_images: FloatTensor<Self>, _channels: Vec<usize>) -> Vec<FloatTensor<Self>> {
        panic!("concatenation does not support second-order gradients");
    }

    fn logistic(input: FloatTensor<Self>) -> FloatTensor<Self> {
        match LogisticBackward.prepare::<C>([input.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = B::logistic(input.into_primitive());
                prep.finish(output.clone(), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::logistic(input.into_primitive())),
        }
    }

    fn logistic_backward(
        _output: FloatTensor<Self>,
        _output_grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        panic!("sigmoid does not support second-order gradients");
    }
}

/// Runs the forward pass on the inner backend and records its node.
fn record<B: ConvolutionOps, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    input: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Optional<Autodiff<B, C>>,
    residual: Optional<Autodiff<B, C>>,
    options: Convolution,
) -> FloatTensor<Autodiff<B, C>> {
    let forward = |input: FloatTensor<Autodiff<B, C>>,
                   weight: FloatTensor<Autodiff<B, C>>,
                   bias: Optional<Autodiff<B, C>>,
                   residual: Optional<Autodiff<B, C>>| {
        B::convolve(
            input.into_primitive(),
            weight.into_primitive(),
            Optional::of(bias.get().map(|bias| bias.into_primitive())),
            Optional::of(residual.get().map(|residual| residual.into_primitive())),
            options,
        )
    };
    match ConvolveBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let inputs = Inputs {
                input: prep.checkpoint(&input),
                weight: prep.checkpoint(&weight),
                bias: bias.get_ref().is_some(),
                options,
            };
            let output = forward(input, weight, bias, residual);
            // For the values that passed ReLU.
            let kept = options.relu.then(|| output.clone());
            prep.finish((inputs, kept), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(input, weight, bias, residual)),
    }
}

/// The checkpointer's nodes for the inputs of the forward pass.
#[derive(Clone, Copy, Debug)]
struct Inputs {
    input: NodeId,
    weight: NodeId,
    bias: bool,
    options: Convolution,
}

#[derive(Debug)]
struct ConvolveBackward;

/// The parents are input, weights and, if there are any, bias and residual.
impl<B: ConvolutionOps, const N: usize> Backward<B, N> for ConvolveBackward {
    type State = (Inputs, Option<FloatTensor<B>>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        registry: &mut Registry,
        checkpointer: &mut Checkpointer,
    ) {
        let output_grad = registry.consume::<B>(&ops.node);
        let (inputs, output) = ops.state;
        let input = checkpointer.retrieve_node_output::<FloatTensor<B>>(inputs.input);
        let weight = checkpointer.retrieve_node_output::<FloatTensor<B>>(inputs.weight);

        let mut parents = ops.parents.into_iter();
        let mut parent = || parents.next().flatten();
        let (input_node, weight_node) = (parent(), parent());
        let bias_node = if inputs.bias { parent() } else { None };
        let residual_node = parent();
        let wanted = Wanted {
            input: input_node.is_some(),
            weight: weight_node.is_some(),
            bias: bias_node.is_some(),
            residual: residual_node.is_some(),
        };
        let gradients = B::convolve_backward(
            input,
            weight,
            Optional::of(output),
            output_grad,
            inputs.options,
            wanted,
        );
        for (node, gradient) in [
            (input_node, gradients.input),
            (weight_node, gradients.weight),
            (bias_node, gradients.bias),
            (residual_node, gradients.residual),
        ] {
            if let (Some(node), Optional::Given(gradient)) = (node, gradient) {
                registry.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct PoolBackward;

impl<B: ConvolutionOps> Backward<B, 1> for PoolBackward {
    type State = (NodeId, Pool);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        registry: &mut Registry,
        checkpointer: &mut Checkpointer,
    ) {
        let (input, pool) = ops.state;
        let input = checkpointer.retrieve_node_output::<FloatTensor<B>>(input);
        unary::<B, _>(ops.parents, ops.node, registry, |grad| B::pool_backward(input, grad, pool));
    }
}

/// The sum of the gradients of a tensor's branches, so far.
type Sum<B> = Arc<Mutex<Option<FloatTensor<B>>>>;

/// If a tensor is used twice, Burn itself adds its gradients on one thread, and value by value if
/// the channels are last. So each branch adds its gradient to a shared sum, and passes on a single
/// zero in its place. The tensor's own node runs after all branches and passes on the sum.
#[derive(Debug)]
struct ForkBackward;

impl<B: ConvolutionOps> Backward<B, 1> for ForkBackward {
    type State = Sum<B>;

    fn backward(self, ops: Ops<Self::State, 1>, registry: &mut Registry, _: &mut Checkpointer) {
        let sum = ops.state.lock().expect("no branch panicked").take();
        let sum = sum.expect("a branch has a gradient");
        unary::<B, _>(ops.parents, ops.node, registry, |_| sum);
    }
}

#[derive(Debug)]
struct BranchBackward;

impl<B: ConvolutionOps> Backward<B, 1> for BranchBackward {
    type State = Sum<B>;

    fn backward(self, ops: Ops<Self::State, 1>, registry: &mut Registry, _: &mut Checkpointer) {
        let sum = ops.state;
        unary::<B, _>(ops.parents, ops.node, registry, |gradient| {
            let (device, dtype) = (gradient.device(), gradient.dtype().into());
            let mut sum = sum.lock().expect("no branch panicked");
            let total = match sum.take() {
                Some(total) => B::weighted_sum(total, gradient, [1.0, 1.0]),
                None => gradient,
            };
            *sum = Some(total);
            B::float_zeros([1].into(), &device, dtype)
        });
    }
}

/// Runs a concatenation on the inner backend and records its node.
fn concatenate<B: ConvolutionOps, C: CheckpointStrategy, const N: usize>(
    images: [FloatTensor<Autodiff<B, C>>; N],
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = images.each_ref().map(|images| images.node());
    let channels = images.each_ref().map(|images| images.shape()[1]);
    let mut images = images.into_iter().map(|images| images.into_primitive());
    let mut next = || images.next();
    let (Some(first), Some(second)) = (next(), next()) else { unreachable!("at least two") };
    let output = B::concatenate(first, second, Optional::of(next()), Optional::of(next()));
    match ConcatenateBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(channels, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

#[derive(Debug)]
struct ConcatenateBackward;

impl<B: ConvolutionOps, const N: usize> Backward<B, N> for ConcatenateBackward {
    type State = [usize; N];

    fn backward(self, ops: Ops<Self::State, N>, registry: &mut Registry, _: &mut Checkpointer) {
        let gradient = registry.consume::<B>(&ops.node);
        let gradients = B::separate(gradient, ops.state.to_vec());
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                registry.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct LogisticBackward;

impl<B: ConvolutionOps> Backward<B, 1> for LogisticBackward {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, registry: &mut Registry, _: &mut Checkpointer) {
        let output = ops.state;
        unary::<B, _>(ops.parents, ops.node, registry, |grad| B::logistic_backward(output, grad));
    }
}
