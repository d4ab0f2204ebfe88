"""Creates reference.json: PyTorch's batch normalization, two training steps and a prediction.

Created with Python 3.11 and torch 2.15.0: python reference.py > reference.json
"""

import json

import torch


def formula(count, phase):
    """Pseudo-random numbers that every language can reproduce."""
    index = torch.arange(count, dtype=torch.float64)
    return torch.sin(index * 1.7 + phase) + 0.3 * torch.cos(index * 0.31)


def rounded(tensor):
    return [round(value, 7) for value in tensor.detach().flatten().tolist()]


cases = []
for shape, layer in [
    ([7, 3], torch.nn.BatchNorm1d(3)),
    ([5, 3, 4], torch.nn.BatchNorm1d(3)),
    ([2, 3, 5, 7], torch.nn.BatchNorm2d(3)),
    ([2, 3, 2, 3, 4], torch.nn.BatchNorm3d(3)),
]:
    layer = layer.double()
    with torch.no_grad():
        layer.weight.copy_(1 + 0.5 * formula(3, 4.0))
        layer.bias.copy_(formula(3, 5.0))
    count = torch.Size(shape).numel()
    for step in range(2):
        layer.zero_grad()
        x = (formula(count, step) * 2 + 3).reshape(shape).requires_grad_()
        y = layer(x)
        # A loss that gives every output a different gradient.
        (y * formula(count, 6.0).reshape(shape)).sum().backward()
    layer.eval()
    cases.append({
        "shape": shape,
        "output": rounded(y),
        "input_grad": rounded(x.grad),
        "gamma_grad": rounded(layer.weight.grad),
        "beta_grad": rounded(layer.bias.grad),
        "running_mean": rounded(layer.running_mean),
        "running_var_unbiased": rounded(layer.running_var),
        "prediction": rounded(layer(formula(count, 9.0).reshape(shape))),
    })
print(json.dumps(cases))
