"""Makes reference.json: the notes' networks in PyTorch, on weights and images made by a formula.

Made with Python 3.11 and torch 2.15.0: python reference.py > reference.json
"""

import json
import math

import torch
from torch import nn


def formula(tensor, phase, scale):
    """Fills the tensor with numbers that look random and that any language makes alike."""
    index = torch.arange(tensor.numel(), dtype=torch.float64)
    values = scale * torch.sin(index * 1.7 + phase)
    with torch.no_grad():
        tensor.copy_(values.reshape(tensor.shape))


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten(),
        nn.Linear(400, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10))


def lenet_bn():
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5), nn.BatchNorm2d(6), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.BatchNorm2d(16), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten(),
        nn.Linear(256, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
        nn.Linear(84, 10))


def rounded(tensor):
    return [round(value, 7) for value in tensor.detach().flatten().tolist()]


def reference(network):
    network = network.double()
    for number, parameter in enumerate(network.parameters()):
        if parameter.dim() == 1:
            formula(parameter, number, 0.5)
            if isinstance(network[layer_of(network, parameter)], (nn.BatchNorm1d, nn.BatchNorm2d)):
                with torch.no_grad():
                    parameter += 1
        else:
            fan_in = parameter.numel() / parameter.shape[0]
            formula(parameter, number, 2 / math.sqrt(fan_in))
    # Faster and faster waves, so that no two images look alike.
    index = torch.arange(8 * 784, dtype=torch.float64)
    images = torch.sin(index * index * 0.0013).reshape(8, 1, 28, 28)
    labels = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])

    network.eval()
    prediction = rounded(network(images))
    network.train()
    logits = network(images)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    return {
        "prediction": prediction,
        "logits": rounded(logits),
        "loss": loss.item(),
        # The length of each parameter's gradient, in the order of the parameters.
        "gradients": [parameter.grad.norm().item() for parameter in network.parameters()],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def layer_of(network, parameter):
    return next(
        index for index, layer in enumerate(network)
        if any(parameter is other for other in layer.parameters()))


print(json.dumps({"lenet": reference(lenet()), "lenet_bn": reference(lenet_bn())}))
