"""Makes reference.json: results of PyTorch's schedules, optimizers, clipping, loss and averages.

Made with Python 3.11 and torch 2.15.0: python reference.py > reference.json

Everything is computed in float64. Inputs are multiples of 1/64, which are exact in float32.
"""

import json

import torch
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD, Adam, AdamW, RMSprop, lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def formula(shape, phase):
    """Pseudo-random numbers."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    values = torch.sin(index * 1.7 + phase) + 0.3 * torch.cos(index * 0.31)
    return (torch.round(values * 64) / 64).reshape(shape)


def rounded(value):
    """The tensor or number with nine digits, which are more than float32 has."""
    if isinstance(value, torch.Tensor):
        return [rounded(number) for number in value.detach().flatten().tolist()]
    return float(f"{value:.9g}")


# The schedules: the factor of each step.

STEPS = 20
WARMUP = 4


def factors(make):
    """The rates of a run of STEPS steps whose base rate is 1."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(rounded(float(optimizer.param_groups[0]["lr"])))
        optimizer.step()
        scheduler.step()
    return rates


def warmed_up(make):
    """The rates with the warm-up of torchvision's reference training, from 1 % of the base rate."""
    def sequence(optimizer):
        warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=WARMUP)
        return lr_scheduler.SequentialLR(optimizer, [warmup, make(optimizer)], [WARMUP])
    return factors(sequence)


def step(start):
    """Milestones at 50 % and 75 % of the run, for a schedule that begins at step `start`."""
    milestones = [STEPS // 2 - start, STEPS * 3 // 4 - start]
    return lambda optimizer: lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


def cosine(start):
    return lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS - start, eta_min=0.05)


def linear(start):
    return lambda optimizer: lr_scheduler.LinearLR(
        optimizer, start_factor=1, end_factor=0.05, total_iters=STEPS - start)


def one_cycle(total_steps, rising):
    return lambda optimizer: lr_scheduler.OneCycleLR(
        optimizer, max_lr=1, total_steps=total_steps, pct_start=rising / total_steps,
        cycle_momentum=False)


def schedules():
    return {
        "step": factors(step(0)),
        "cosine": factors(cosine(0)),
        "linear": factors(linear(0)),
        "warmup_constant": warmed_up(lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1)),
        "warmup_step": warmed_up(step(WARMUP)),
        "warmup_cosine": warmed_up(cosine(WARMUP)),
        "warmup_linear": warmed_up(linear(WARMUP)),
        "one_cycle": factors(one_cycle(STEPS, 6)),
        # PyTorch's phases end in their last steps. With one step more in the rise, they end where
        # the next phases begin, as in the other schedules.
        "one_cycle_of_a_step_more": factors(one_cycle(STEPS + 1, 7)),
    }


# The optimizers: the parameters after each of some steps with given gradients.

SHAPES = {"weight": [3, 2], "bias": [3]}


def tensors(phase):
    """One tensor for each parameter; none is a prefix of another."""
    return {name: formula(shape, phase + 0.4 * len(shape)) for name, shape in SHAPES.items()}


START = tensors(0)
GRADIENTS = [tensors(phase) for phase in (1, 2, 3, 4)]

OPTIMIZERS = {
    "sgd": (SGD, {"lr": 0.1}, []),
    "sgd_momentum": (SGD, {"lr": 0.1, "momentum": 0.9}, []),
    "sgd_nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, []),
    "sgd_decay_of_weights": (SGD, {"lr": 0.1, "momentum": 0.9}, ["weight"]),
    "sgd_decay_of_all": (SGD, {"lr": 0.1, "momentum": 0.9}, ["weight", "bias"]),
    "adam": (Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}, []),
    "adam_decay_of_weights": (Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}, ["weight"]),
    "adamw_decay_of_weights": (
        AdamW, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}, ["weight"]),
    "rmsprop": (RMSprop, {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0}, []),
    "rmsprop_momentum": (RMSprop, {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0.9}, []),
}
WEIGHT_DECAY = 0.01


def parameters():
    return {name: torch.nn.Parameter(start.clone()) for name, start in START.items()}


def listed(tensors):
    return {name: rounded(tensor) for name, tensor in tensors.items()}


def optimize(kind, options, decayed):
    network = parameters()
    groups = [
        {"params": [parameter], "weight_decay": WEIGHT_DECAY if name in decayed else 0}
        for name, parameter in network.items()]
    optimizer = kind(groups, **options)
    steps = []
    for gradients in GRADIENTS:
        for name, parameter in network.items():
            parameter.grad = gradients[name].clone()
        optimizer.step()
        steps.append(listed(network))
    return {"options": options, "steps": steps}


def optimizers():
    return {
        "shapes": SHAPES,
        "start": listed(START),
        "gradients": [listed(gradients) for gradients in GRADIENTS],
        "weight_decay": WEIGHT_DECAY,
        "cases": {name: optimize(*case) for name, case in OPTIMIZERS.items()},
    }


# Clipping of the first of the gradients above.


def clip(max_norm):
    network = parameters()
    for name, parameter in network.items():
        parameter.grad = GRADIENTS[0][name].clone()
    norm = torch.nn.utils.clip_grad_norm_(network.values(), max_norm)
    gradients = {name: parameter.grad for name, parameter in network.items()}
    return {"max_norm": max_norm, "norm": rounded(norm.item()), "gradients": listed(gradients)}


# The loss of labels, or of two label sets with a share each, and its gradient for the logits.

LOGITS = formula([4, 3], 2.0) * 3
LABELS = torch.tensor([0, 1, 2, 1])
OTHER_LABELS = torch.tensor([2, 1, 0, 0])


def loss(share, smoothing):
    logits = LOGITS.clone().requires_grad_()
    targets = LABELS
    if share < 1:
        first, second = (one_hot(labels, 3).double() for labels in (LABELS, OTHER_LABELS))
        targets = share * first + (1 - share) * second
    value = cross_entropy(logits, targets, label_smoothing=smoothing)
    value.backward()
    return {
        "share": share,
        "smoothing": smoothing,
        "loss": rounded(value.item()),
        "gradient": rounded(logits.grad),
    }


def losses():
    return {
        "shape": list(LOGITS.shape),
        "logits": rounded(LOGITS),
        "labels": LABELS.tolist(),
        "other_labels": OTHER_LABELS.tolist(),
        "cases": [loss(share, smoothing) for share in (1, 0.7) for smoothing in (0, 0.1)],
    }


# The average of one weight, after each of its values.


def average():
    decay = 0.9
    values = formula([8], 3.0)
    network = torch.nn.Linear(1, 1, bias=False).double()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))
    averages = []
    for value in values:
        with torch.no_grad():
            network.weight.fill_(value)
        averaged.update_parameters(network)
        averages.append(rounded(averaged.module.weight.item()))
    return {"decay": decay, "values": rounded(values), "averages": averages}


print(json.dumps({
    "schedules": schedules(),
    "optimizers": optimizers(),
    "clipping": [clip(max_norm) for max_norm in (0.5, 10)],
    "loss": losses(),
    "average": average(),
}))
