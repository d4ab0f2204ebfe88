"""Creates reference.json: PyTorch's convolutions, pooling layers and sigmoid, with their gradients.

Created with Python 3.11 and torch 2.15.0: python reference.py > reference.json

Inputs are not stored. Value i of a tensor, in row-major order, is ((i * a + b) % m - m // 2) / 64:

| tensor | a | b | m |
|---|---|---|---|
| input | 37 | 11 | 101 |
| weight | 29 | 7 | 61 |
| bias | 13 | 3 | 41 |
| gradient of the output | 53 | 17 | 97 |

An input with "ties" has m = 3, so that windows have equal values; in one with "nan", every value with
i % 7 == 3 is NaN, which is written as null in the file.
"""

import json
import math

import torch
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, max_pool2d


def formula(shape, a, b, m):
    index = torch.arange(math.prod(shape), dtype=torch.int64)
    return (((index * a + b) % m - m // 2).double() / 64).reshape(shape)


def rounded(tensor):
    values = tensor.detach().flatten().tolist()
    return [None if math.isnan(value) else float(f"{value:.7g}") for value in values]


def output_grad(y):
    return formula(y.shape, 53, 17, 97)


def convolution(shape, out_channels, kernel, stride, padding, bias):
    x = formula(shape, 37, 11, 101).requires_grad_()
    weight = formula([out_channels, shape[1], *kernel], 29, 7, 61).requires_grad_()
    bias = formula([out_channels], 13, 3, 41).requires_grad_() if bias else None
    y = conv2d(x, weight, bias, stride, padding)
    y.backward(output_grad(y))
    return {
        "shape": shape,
        "out_channels": out_channels,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "output_shape": list(y.shape),
        "output": rounded(y),
        "input_grad": rounded(x.grad),
        "weight_grad": rounded(weight.grad),
        "bias_grad": None if bias is None else rounded(bias.grad),
    }


def pooling(kind, shape, of, input="plain", **options):
    x = formula(shape, 37, 11, 3 if input == "ties" else 101)
    if input == "nan":
        x.view(-1)[3::7] = math.nan
    x.requires_grad_()
    y = of(x)
    y.backward(output_grad(y))
    return {
        "kind": kind,
        "shape": shape,
        "input": input,
        **options,
        "output_shape": list(y.shape),
        "output": rounded(y),
        "input_grad": rounded(x.grad),
    }


def largest(shape, kernel, stride, padding, ceil=False, input="plain"):
    def of(x):
        return max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)

    options = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": ceil}
    return pooling("max", shape, of, input, **options)


def average(shape, kernel, stride, padding, include_padding, ceil=False):
    def of(x):
        return avg_pool2d(x, kernel, stride, padding, ceil, include_padding)

    options = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": ceil}
    return pooling("average", shape, of, include_padding=include_padding, **options)


def adaptive(shape, size):
    return pooling("adaptive average", shape, lambda x: adaptive_avg_pool2d(x, size), size=size)


points = [0.0, 0.001, 0.1, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 40.0, 87.0]
points = sorted({sign * point for point in points for sign in (-1.0, 1.0)})

print(json.dumps({
    "torch": torch.__version__.split("+")[0],
    "convolutions": [
        convolution([2, 3, 6, 5], 5, [1, 1], [1, 1], [0, 0], bias=True),
        convolution([2, 5, 5, 5], 3, [1, 1], [2, 2], [0, 0], bias=False),
        convolution([2, 1, 7, 6], 3, [3, 3], [1, 1], [1, 1], bias=True),
        convolution([2, 3, 6, 7], 5, [3, 3], [1, 1], [0, 0], bias=False),
        convolution([1, 5, 7, 7], 3, [3, 3], [2, 2], [1, 1], bias=False),
        convolution([2, 16, 5, 4], 3, [3, 3], [1, 1], [1, 1], bias=True),
        convolution([1, 3, 5, 5], 17, [3, 3], [1, 1], [1, 1], bias=True),
        convolution([1, 17, 4, 5], 5, [3, 3], [2, 2], [1, 1], bias=False),
        convolution([2, 1, 9, 9], 5, [5, 5], [1, 1], [0, 0], bias=True),
        convolution([1, 3, 8, 7], 5, [5, 5], [1, 1], [2, 2], bias=False),
        convolution([1, 3, 11, 10], 5, [7, 7], [2, 2], [3, 3], bias=False),
        convolution([1, 1, 15, 16], 3, [11, 11], [4, 4], [2, 2], bias=True),
        convolution([1, 3, 6, 9], 5, [3, 1], [1, 2], [1, 0], bias=True),
        convolution([2, 5, 3, 3], 16, [3, 3], [1, 1], [0, 0], bias=True),
    ],
    "pooling": [
        largest([2, 3, 6, 8], [2, 2], [2, 2], [0, 0]),
        largest([2, 3, 7, 9], [3, 3], [2, 2], [1, 1]),
        largest([1, 2, 6, 6], [3, 3], [1, 1], [1, 1], input="ties"),
        largest([1, 2, 7, 8], [3, 3], [2, 2], [1, 1], input="nan"),
        largest([2, 2, 6, 8], [3, 2], [2, 3], [1, 0], ceil=True),
        largest([1, 3, 5, 6], [2, 2], [3, 3], [1, 1], ceil=True, input="ties"),
        average([2, 3, 6, 8], [2, 2], [2, 2], [0, 0], include_padding=True),
        average([1, 3, 7, 6], [3, 3], [2, 2], [1, 1], include_padding=True),
        average([1, 3, 7, 6], [3, 3], [2, 2], [1, 1], include_padding=False),
        average([2, 2, 6, 8], [3, 3], [2, 2], [1, 1], include_padding=True, ceil=True),
        average([2, 2, 6, 7], [2, 3], [3, 2], [0, 1], include_padding=False, ceil=True),
        adaptive([2, 5, 4, 7], [1, 1]),
        adaptive([2, 3, 5, 7], [2, 3]),
    ],
    "sigmoid": [[x, float(f"{torch.sigmoid(torch.tensor(x).double()).item():.9g}")] for x in points],
}, separators=(",", ":")))
