"""Makes d2l.json and the small files in `d2l/`, with the networks of Dive into Deep Learning.

The book (https://d2l.ai) has two PyTorch listings of each network. Up to version 0.17, as in the
notes, it is a bare `nn.Sequential`; since 1.0 it is the `net` of a class. The names of most layers
are their positions; the layers of Inception, Residual and DenseBlock are attributes.

d2l.json has the names and shapes of both listings of all networks at full size. Each file in `d2l/`
contains one network, narrower if this crate's config allows it; d2l.json has its logits for one
image. To keep the files small, the weights are overlapping views of one short storage, which
PyTorch saves once.

Needs torch: python crates/models/tests/d2l.py
With a folder as argument, it writes the full networks there, with independent weights and logits.
"""

import json
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
CLASSES = 10
# The full sizes, and those of the files, as in the tests. NiN, GoogLeNet and LeNet stay full size.
FULL = {
    "alexnet": ([96, 256, 384, 384, 256], 4096),
    "vgg11": ([16, 32, 64, 128, 128], 4096),
    "resnet18": (64,),
    "densenet": (64, 32, [4, 4, 4, 4]),
}
NARROW = {
    "alexnet": ([8, 16, 24, 24, 16], 32),
    "vgg11": ([4, 8, 8, 16, 16], 32),
    "resnet18": (8,),
    "densenet": (16, 8, [2, 1, 2, 2]),
}
SIDES = {"lenet": 28, "lenet_bn": 28, "googlenet": 96, "resnet18": 96, "densenet": 96}


def conv(inputs, outputs, size, **window):
    return nn.Conv2d(inputs, outputs, kernel_size=size, **window)


def max_pool(**window):
    return nn.MaxPool2d(kernel_size=3, stride=2, **window)


def halve(kind):
    return kind(kernel_size=2, stride=2)


def head(inputs, units):
    """The fully connected layers of AlexNet and VGG."""
    return [
        nn.Flatten(),
        nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(units, units), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(units, CLASSES)]


def lenet(listing):
    return nn.Sequential(
        conv(1, 6, 5, padding=2), nn.Sigmoid(), halve(nn.AvgPool2d),
        conv(6, 16, 5), nn.Sigmoid(), halve(nn.AvgPool2d),
        nn.Flatten(),
        nn.Linear(400, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, CLASSES))


def lenet_bn(listing):
    return nn.Sequential(
        conv(1, 6, 5), nn.BatchNorm2d(6), nn.Sigmoid(), halve(nn.AvgPool2d),
        conv(6, 16, 5), nn.BatchNorm2d(16), nn.Sigmoid(), halve(nn.AvgPool2d),
        nn.Flatten(),
        nn.Linear(256, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
        nn.Linear(84, CLASSES))


def alexnet(listing, widths, units):
    a, b, c, d, e = widths
    return nn.Sequential(
        conv(1, a, 11, stride=4, padding=1), nn.ReLU(), max_pool(),
        conv(a, b, 5, padding=2), nn.ReLU(), max_pool(),
        conv(b, c, 3, padding=1), nn.ReLU(),
        conv(c, d, 3, padding=1), nn.ReLU(),
        conv(d, e, 3, padding=1), nn.ReLU(), max_pool(),
        *head(e * 5 * 5, units))


def vgg11(listing, widths, units):
    blocks, channels = [], 1
    for depth, width in zip([1, 1, 2, 2, 2], widths):
        layers = []
        for _ in range(depth):
            layers += [conv(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        blocks.append(nn.Sequential(*layers, halve(nn.MaxPool2d)))
    return nn.Sequential(*blocks, *head(channels * 7 * 7, units))


def nin(listing):
    def block(inputs, width, size, **window):
        return nn.Sequential(
            conv(inputs, width, size, **window), nn.ReLU(),
            conv(width, width, 1), nn.ReLU(),
            conv(width, width, 1), nn.ReLU())

    return nn.Sequential(
        block(1, 96, 11, stride=4), max_pool(),
        block(96, 256, 5, padding=2), max_pool(),
        block(256, 384, 3, padding=1), max_pool(),
        nn.Dropout(0.5),
        block(384, CLASSES, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Inception(nn.Module):
    """Its layers have names such as `p1_1`; since version 1.0, `b1_1`."""

    def __init__(self, listing, inputs, one, three, five, pooled):
        super().__init__()
        branch = "b" if listing == "class" else "p"
        self.names = [branch + name for name in ("1_1", "2_1", "2_2", "3_1", "3_2", "4_1", "4_2")]
        layers = [
            conv(inputs, one, 1),
            conv(inputs, three[0], 1), conv(three[0], three[1], 3, padding=1),
            conv(inputs, five[0], 1), conv(five[0], five[1], 5, padding=2),
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1), conv(inputs, pooled, 1)]
        for name, layer in zip(self.names, layers):
            self.add_module(name, layer)

    def forward(self, x):
        one, three, wide_three, five, wide_five, pool, pooled = self.children()
        branches = [[one], [three, wide_three], [five, wide_five], [pooled]]
        inputs = [x, x, x, pool(x)]
        outputs = []
        for branch, out in zip(branches, inputs):
            for layer in branch:
                out = torch.relu(layer(out))
            outputs.append(out)
        return torch.cat(outputs, dim=1)


def googlenet(listing):
    def inceptions(inputs, *all_widths):
        blocks = []
        for widths in all_widths:
            blocks.append(Inception(listing, inputs, *widths))
            inputs = widths[0] + widths[1][1] + widths[2][1] + widths[3]
        return blocks

    pool = max_pool(padding=1)
    return nn.Sequential(
        nn.Sequential(conv(1, 64, 7, stride=2, padding=3), nn.ReLU(), pool),
        nn.Sequential(conv(64, 64, 1), nn.ReLU(), conv(64, 192, 3, padding=1), nn.ReLU(), pool),
        nn.Sequential(*inceptions(
            192, (64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)), pool),
        nn.Sequential(*inceptions(
            480, (192, (96, 208), (16, 48), 64), (160, (112, 224), (24, 64), 64),
            (128, (128, 256), (24, 64), 64), (112, (144, 288), (32, 64), 64),
            (256, (160, 320), (32, 128), 128)), pool),
        nn.Sequential(*inceptions(
            832, (256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
            nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(1024, CLASSES))


def stem(width):
    return nn.Sequential(
        conv(1, width, 7, stride=2, padding=3), nn.BatchNorm2d(width), nn.ReLU(), max_pool(padding=1))


class Residual(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride=stride, padding=1)
        self.conv2 = conv(width, width, 3, padding=1)
        self.conv3 = conv(inputs, width, 1, stride=stride) if inputs != width else None
        self.bn1 = nn.BatchNorm2d(width)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + (x if self.conv3 is None else self.conv3(x)))


def resnet18(listing, width):
    stages, inputs = [], width
    for number in range(4):
        outputs = width << number
        first = Residual(inputs, outputs, stride=1 if number == 0 else 2)
        stages.append(nn.Sequential(first, Residual(outputs, outputs, stride=1)))
        inputs = outputs
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES)]
    if listing == "sequential":
        return nn.Sequential(stem(width), *stages, *last)
    named = OrderedDict({"0": stem(width)})
    named.update((f"b{number}", stage) for number, stage in enumerate(stages, start=2))
    named["last"] = nn.Sequential(*last)
    return nn.Sequential(named)


class DenseBlock(nn.Module):
    def __init__(self, inputs, growth, depth):
        super().__init__()
        self.net = nn.Sequential(*[
            nn.Sequential(
                nn.BatchNorm2d(inputs + growth * number), nn.ReLU(),
                conv(inputs + growth * number, growth, 3, padding=1))
            for number in range(depth)])

    def forward(self, x):
        for layer in self.net:
            x = torch.cat([x, layer(x)], dim=1)
        return x


def densenet(listing, width, growth, depths):
    blocks, channels = OrderedDict(), width
    for number, depth in enumerate(depths, start=1):
        blocks[f"dense_blk{number}"] = DenseBlock(channels, growth, depth)
        channels += growth * depth
        if number < len(depths):
            blocks[f"tran_blk{number}"] = nn.Sequential(
                nn.BatchNorm2d(channels), nn.ReLU(),
                conv(channels, channels // 2, 1), halve(nn.AvgPool2d))
            channels //= 2
    last = [
        nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(channels, CLASSES)]
    if listing == "sequential":
        return nn.Sequential(stem(width), *blocks.values(), *last)
    return nn.Sequential(OrderedDict({"0": stem(width), **blocks, "last": nn.Sequential(*last)}))


class Net(nn.Module):
    """A network in the form that the book has since version 1.0."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


NETWORKS = [lenet, lenet_bn, alexnet, vgg11, nin, googlenet, resnet18, densenet]
# The listing of each network's file.
LISTINGS = {
    "lenet": "sequential", "lenet_bn": "sequential", "alexnet": "class", "vgg11": "sequential",
    "nin": "class", "googlenet": "class", "resnet18": "class", "densenet": "sequential",
}


def build(builder, listing, sizes):
    network = builder(listing, *sizes.get(builder.__name__, ()))
    return Net(network) if listing == "class" else network


def entries(network):
    """Names and shapes, without the counters of batches, which are not weights."""
    return {
        name: list(tensor.shape) for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")}


def overlapping(weights):
    """Weights with the same names and shapes, in half precision, almost all in one storage."""
    generator = torch.Generator().manual_seed(0)
    storage = ((torch.rand(2048, generator=generator) - 0.5) * 0.25).half()
    views = {}
    for number, (name, tensor) in enumerate(weights.items()):
        is_norm = f"{name.rpartition('.')[0]}.running_var" in weights
        if name.endswith("num_batches_tracked"):
            views[name] = tensor
        elif name.endswith("running_var") or is_norm and name.endswith("weight"):
            views[name] = (torch.rand(tensor.shape, generator=generator) + 0.5).half()
        else:
            strides = [3, 1, 2, 5][:tensor.dim()]
            last = sum((size - 1) * stride for size, stride in zip(tensor.shape, strides))
            views[name] = storage.as_strided(tensor.shape, strides, number * 97 % (2048 - last))
    return views


def randomised(network):
    """The network's weights, initialized by PyTorch, with random running means and variances."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network.state_dict()


def image(side):
    """`[1, 1, side, side]` from a formula: 0 to 1, in steps of 1/256."""
    row, column = torch.arange(side)[:, None], torch.arange(side)[None, :]
    return ((row * row * 3 + column * 7 + row * column) % 256 / 256).double()[None, None]


def logits(network, weights, name):
    network = network.double().eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        return network(image(SIDES.get(name, 224))).flatten().tolist()


def main():
    expected = {"torch": torch.__version__, "networks": {}}
    for builder in NETWORKS:
        name = builder.__name__
        with torch.device("meta"):
            shapes = {
                listing: entries(build(builder, listing, FULL)) for listing in ("sequential", "class")}
        network = build(builder, LISTINGS[name], NARROW)
        weights = overlapping(network.state_dict())
        (HERE / "d2l").mkdir(exist_ok=True)
        torch.save(weights, HERE / "d2l" / f"{name}.pth")
        expected["networks"][name] = {"shapes": shapes, "logits": logits(network, weights, name)}
    (HERE / "d2l.json").write_text(json.dumps(expected))


def main_full(folder):
    for builder in NETWORKS:
        name = builder.__name__
        for listing in ("sequential", "class"):
            torch.manual_seed(1)
            network = build(builder, listing, FULL)
            weights = {key: value.clone() for key, value in randomised(network).items()}
            torch.save(weights, folder / f"{name}.{listing}.pth")
            expected = {"logits": logits(network, weights, name)}
            (folder / f"{name}.{listing}.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main_full(Path(sys.argv[1])) if sys.argv[1:] else main()
