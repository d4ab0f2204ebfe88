"""Makes reference.json: PyTorch's results for each network, with weights and images from a formula.

Needs torch, torchvision and numpy: python crates/models/tests/reference.py

The weights are not stored. They are computed from their names, so that a network that uses a wrong
name gives wrong logits. Everything is computed in float64, so that all differences come from the
other implementation.
"""

import json
import math
import platform
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision import models

BATCH = 4
CLASSES = 10  # for the logits; parameters are counted with the preset's own number of classes

# The channels and classes of each preset.
PRESETS = {"d2l": (1, 10), "imagenet": (3, 1000), "small": (1, 10)}


# The formula.


def seed_of(name):
    """The 32-bit FNV-1a hash of the name."""
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def uniform(name, count):
    """Pseudorandom numbers in [-1, 1) that are the same in any programming language."""
    # numpy's uint32 arrays wrap around, as the hash requires. In place, because the VGGs are large.
    x = np.arange(count, dtype=np.uint32)
    x *= np.uint32(2654435761)
    x += np.uint32(seed_of(name))
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x / 2.0**31 - 1


def filled(name, shape):
    """The values of the state_dict entry of this name, rounded to float32."""
    last = name.split(".")[-1]
    u = uniform(name, math.prod(shape))
    if last == "running_mean" or last == "bias":
        u *= 0.1
    elif last == "running_var" or len(shape) == 1:
        u *= 0.5
        u += 1
    else:
        fan_in = math.prod(shape[1:])
        u *= math.sqrt(6 / fan_in)
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def entries(network):
    """The state_dict without the batch counters, which are not used here."""
    return {
        name: tensor for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")}


def built(builder, *arguments):
    """The network on the meta device: its shapes can be counted, and it can be filled later."""
    with torch.device("meta"):
        return builder(*arguments)


def fill(network):
    """Fills a network on the meta device with its weights, in float64, and disables dropout."""
    network = network.double().to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in entries(network).items():
            tensor.copy_(filled(name, tensor.shape))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0
    return network


# The networks that torchvision does not have.


class LeNet(nn.Module):
    def __init__(self, channels, classes, batch_norm):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, kernel_size=5, padding=0 if batch_norm else 2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(256 if batch_norm else 400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)
        self.bn1 = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.bn2 = nn.BatchNorm2d(16) if batch_norm else nn.Identity()
        self.bn3 = nn.BatchNorm1d(120) if batch_norm else nn.Identity()
        self.bn4 = nn.BatchNorm1d(84) if batch_norm else nn.Identity()
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)

    def forward(self, x):
        x = self.pool(torch.sigmoid(self.bn1(self.conv1(x))))
        x = self.pool(torch.sigmoid(self.bn2(self.conv2(x))))
        x = x.flatten(1)
        x = torch.sigmoid(self.bn3(self.fc1(x)))
        x = torch.sigmoid(self.bn4(self.fc2(x)))
        return self.fc3(x)


def lenet(channels, classes):
    return LeNet(channels, classes, batch_norm=False)


def lenet_bn(channels, classes):
    return LeNet(channels, classes, batch_norm=True)


class Classified(nn.Module):
    """Features, pooled to a fixed size, then a classifier: AlexNet, VGG and the DenseNets."""

    def __init__(self, features, side, classifier):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = classifier

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet_d2l(channels, classes):
    features = nn.Sequential(
        nn.Conv2d(channels, 96, kernel_size=11, stride=4, padding=1), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(96, 256, kernel_size=5, padding=2), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(256, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2))
    # nn.Identity replaces dropout, which is disabled here, to keep torchvision's numbers.
    classifier = nn.Sequential(
        nn.Identity(), nn.Linear(256 * 5 * 5, 4096), nn.ReLU(),
        nn.Identity(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, classes))
    return Classified(features, 5, classifier)


def vgg_features(channels, stages, batch_norm, ceil_mode):
    layers = []
    for widths in stages:
        for width in widths:
            layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=ceil_mode))
    return nn.Sequential(*layers)


def vgg11_d2l(channels, classes):
    stages = [[16], [32], [64, 64], [128, 128], [128, 128]]
    features = vgg_features(channels, stages, batch_norm=False, ceil_mode=False)
    classifier = nn.Sequential(
        nn.Linear(128 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, classes))
    return Classified(features, 7, classifier)


def vgg16_bn_small(channels, classes):
    """Its pools use ceil mode, so that 28 pixels become 14, 7, 4, 2 and 1."""
    stages = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    features = vgg_features(channels, stages, batch_norm=True, ceil_mode=True)
    return Classified(features, 1, nn.Linear(512, classes))


class NinBlock(nn.Module):
    def __init__(self, channels, widths, **window):
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], **window)
        self.pointwise1 = nn.Conv2d(widths[0], widths[1], kernel_size=1)
        self.pointwise2 = nn.Conv2d(widths[1], widths[2], kernel_size=1)

    def forward(self, x):
        for conv in (self.conv, self.pointwise1, self.pointwise2):
            x = torch.relu(conv(x))
        return x


class Nin(nn.Module):
    def __init__(self, channels, last_widths, ceil_mode):
        super().__init__()
        self.block1 = NinBlock(channels, [96] * 3, kernel_size=11, stride=4)
        self.block2 = NinBlock(96, [256] * 3, kernel_size=5, padding=2)
        self.block3 = NinBlock(256, [384] * 3, kernel_size=3, padding=1)
        self.block4 = NinBlock(384, last_widths, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=ceil_mode)
        self.dropout = nn.Dropout()

    def forward(self, x):
        for block in (self.block1, self.block2, self.block3):
            x = self.pool(block(x))
        return self.block4(self.dropout(x)).mean(dim=(2, 3))


def nin_d2l(channels, classes):
    return Nin(channels, [classes] * 3, ceil_mode=False)


def nin_imagenet(channels, classes):
    """The authors' own model, for Caffe, whose pools use ceil mode."""
    return Nin(channels, [1024, 1024, classes], ceil_mode=True)


class ConvRelu(nn.Module):
    def __init__(self, channels, width, **window):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, **window)

    def forward(self, x):
        return torch.relu(self.conv(x))


class Inception(nn.Module):
    """The four branches' widths: 1x1, then (1x1, 3x3), then (1x1, 5x5), then 1x1 after a pool."""

    def __init__(self, channels, width1, widths2, widths3, width4):
        super().__init__()
        self.branch1 = ConvRelu(channels, width1, kernel_size=1)
        self.branch2 = nn.Sequential(
            ConvRelu(channels, widths2[0], kernel_size=1),
            ConvRelu(widths2[0], widths2[1], kernel_size=3, padding=1))
        self.branch3 = nn.Sequential(
            ConvRelu(channels, widths3[0], kernel_size=1),
            ConvRelu(widths3[0], widths3[1], kernel_size=5, padding=2))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            ConvRelu(channels, width4, kernel_size=1))

    def forward(self, x):
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


class GoogLeNetD2l(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = ConvRelu(channels, 64, kernel_size=7, stride=2, padding=3)
        self.conv2 = ConvRelu(64, 64, kernel_size=1)
        self.conv3 = ConvRelu(64, 192, kernel_size=3, padding=1)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.fc = nn.Linear(1024, classes)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def forward(self, x):
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv3(self.conv2(x)))
        x = self.pool(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.pool(self.inception4e(self.inception4d(x)))
        x = self.inception5b(self.inception5a(x))
        return self.fc(x.mean(dim=(2, 3)))


class ResidualD2l(nn.Module):
    """Its convolutions have biases, and its 1x1 convolution has no batch norm."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential()  # the identity
        if channels != width:
            self.downsample.append(nn.Conv2d(channels, width, kernel_size=1, stride=stride))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet18D2l(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = nn.Sequential(ResidualD2l(64, 64, 1), ResidualD2l(64, 64, 1))
        self.layer2 = nn.Sequential(ResidualD2l(64, 128, 2), ResidualD2l(128, 128, 1))
        self.layer3 = nn.Sequential(ResidualD2l(128, 256, 2), ResidualD2l(256, 256, 1))
        self.layer4 = nn.Sequential(ResidualD2l(256, 512, 2), ResidualD2l(512, 512, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def resnet18_small(channels, classes):
    """torchvision's, except for a stem that keeps the size of small images."""
    network = models.resnet18(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


class DenseLayer(nn.Module):
    """Appends `growth` channels to its input, with a bottleneck if `bottleneck` is set."""

    def __init__(self, channels, growth, bottleneck, bias):
        super().__init__()
        layers = OrderedDict(norm1=nn.BatchNorm2d(channels), relu1=nn.ReLU())
        if bottleneck:
            layers["conv1"] = nn.Conv2d(channels, bottleneck, kernel_size=1, bias=bias)
            layers["norm2"] = nn.BatchNorm2d(bottleneck)
            layers["relu2"] = nn.ReLU()
            layers["conv2"] = nn.Conv2d(bottleneck, growth, kernel_size=3, padding=1, bias=bias)
        else:
            layers["conv1"] = nn.Conv2d(channels, growth, kernel_size=3, padding=1, bias=bias)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        new = x
        for layer in self.children():
            new = layer(new)
        return torch.cat([x, new], dim=1)


def densenet(stem, channels, blocks, growth, bottleneck, bias, classes):
    """The stem's layers, by name; then dense blocks with these numbers of layers."""
    features = OrderedDict(stem)
    for number, count in enumerate(blocks, start=1):
        layers = OrderedDict()
        for layer in range(1, count + 1):
            layers[f"denselayer{layer}"] = DenseLayer(channels, growth, bottleneck, bias)
            channels += growth
        features[f"denseblock{number}"] = nn.Sequential(layers)
        if number < len(blocks):
            features[f"transition{number}"] = nn.Sequential(OrderedDict(
                norm=nn.BatchNorm2d(channels), relu=nn.ReLU(),
                conv=nn.Conv2d(channels, channels // 2, kernel_size=1, bias=bias),
                pool=nn.AvgPool2d(kernel_size=2, stride=2)))
            channels //= 2
    features["norm5"] = nn.BatchNorm2d(channels)
    features["relu5"] = nn.ReLU()
    return Classified(nn.Sequential(features), 1, nn.Linear(channels, classes))


def densenet_d2l(channels, classes):
    stem = dict(
        conv0=nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3),
        norm0=nn.BatchNorm2d(64), relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    return densenet(stem, 64, [4, 4, 4, 4], 32, None, True, classes)


def densenet_bc(channels, classes):
    """DenseNet-BC with growth 12 and 100 layers."""
    stem = dict(conv0=nn.Conv2d(channels, 24, kernel_size=3, padding=1, bias=False))
    return densenet(stem, 24, [16, 16, 16], 12, 48, False, classes)


class WideBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(
            channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.shortcut = None
        if channels != width:
            self.shortcut = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)

    def forward(self, x):
        active = torch.relu(self.bn1(x))
        out = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    def __init__(self, channels, classes, depth, factor):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=3, padding=1, bias=False)
        self.group1 = self.group(16, 16 * factor, 1, blocks)
        self.group2 = self.group(16 * factor, 32 * factor, 2, blocks)
        self.group3 = self.group(32 * factor, 64 * factor, 2, blocks)
        self.bn = nn.BatchNorm2d(64 * factor)
        self.fc = nn.Linear(64 * factor, classes)

    @staticmethod
    def group(channels, width, stride, blocks):
        first = WideBlock(channels, width, stride)
        return nn.Sequential(first, *[WideBlock(width, width, 1) for _ in range(blocks - 1)])

    def forward(self, x):
        x = self.group3(self.group2(self.group1(self.conv1(x))))
        return self.fc(torch.relu(self.bn(x)).mean(dim=(2, 3)))


def wide_resnet(depth, factor):
    return lambda channels, classes: WideResNet(channels, classes, depth, factor)


# The networks that torchvision has.


def from_torchvision(name):
    return lambda channels, classes: models.get_model(name, weights=None, num_classes=classes)


def googlenet(channels, classes, auxiliary=False):
    return models.googlenet(
        weights=None, num_classes=classes, aux_logits=auxiliary, init_weights=False,
        transform_input=False)


# Each network's builder, the side of the small images for its logits, the side of the preset's own
# images, and the additional results: L for its layers' shapes, T for a training step.
NETWORKS = {
    "d2l/lenet": (lenet, 28, 28, "TL"),
    "d2l/lenet_bn": (lenet_bn, 28, 28, "TL"),
    # Large enough that a transposed last feature map would be noticed.
    "d2l/alexnet": (alexnet_d2l, 128, 224, "TL"),
    "d2l/vgg11": (vgg11_d2l, 64, 224, "TL"),
    "d2l/nin": (nin_d2l, 80, 224, "TL"),
    "d2l/googlenet": (GoogLeNetD2l, 64, 96, "TL"),
    "d2l/resnet18": (ResNet18D2l, 64, 96, "TL"),
    "d2l/densenet": (densenet_d2l, 64, 96, "TL"),
    "imagenet/alexnet": (from_torchvision("alexnet"), 64, 224, "TL"),
    "imagenet/vgg11": (from_torchvision("vgg11"), 32, 224, ""),
    "imagenet/vgg11_bn": (from_torchvision("vgg11_bn"), 32, 224, "L"),
    "imagenet/vgg13": (from_torchvision("vgg13"), 32, 224, ""),
    "imagenet/vgg13_bn": (from_torchvision("vgg13_bn"), 32, 224, ""),
    "imagenet/vgg16": (from_torchvision("vgg16"), 32, 224, ""),
    "imagenet/vgg16_bn": (from_torchvision("vgg16_bn"), 32, 224, ""),
    "imagenet/vgg19": (from_torchvision("vgg19"), 32, 224, ""),
    "imagenet/vgg19_bn": (from_torchvision("vgg19_bn"), 32, 224, ""),
    "imagenet/nin": (nin_imagenet, 80, 224, "TL"),
    "imagenet/googlenet": (googlenet, 64, 224, "TL"),
    "imagenet/resnet18": (from_torchvision("resnet18"), 64, 224, "L"),
    "imagenet/resnet34": (from_torchvision("resnet34"), 64, 224, ""),
    "imagenet/resnet50": (from_torchvision("resnet50"), 64, 224, "TL"),
    "imagenet/resnet101": (from_torchvision("resnet101"), 64, 224, ""),
    "imagenet/resnet152": (from_torchvision("resnet152"), 64, 224, ""),
    "imagenet/densenet121": (from_torchvision("densenet121"), 64, 224, "TL"),
    "imagenet/densenet161": (from_torchvision("densenet161"), 64, 224, ""),
    "imagenet/densenet169": (from_torchvision("densenet169"), 64, 224, ""),
    "imagenet/densenet201": (from_torchvision("densenet201"), 64, 224, ""),
    "small/resnet18": (resnet18_small, 28, 28, "TL"),
    "small/densenet_bc": (densenet_bc, 28, 28, "TL"),
    "small/wrn_16_1": (wide_resnet(16, 1), 28, 28, "TL"),
    "small/wrn_16_2": (wide_resnet(16, 2), 28, 28, ""),
    "small/wrn_16_4": (wide_resnet(16, 4), 28, 28, "TL"),
    "small/wrn_28_10": (wide_resnet(28, 10), 28, 28, ""),
    "small/wrn_40_4": (wide_resnet(40, 4), 28, 28, "TL"),
    "small/vgg16_bn": (vgg16_bn_small, 28, 28, "TL"),
}

# The known numbers of parameters, to check the definitions above.
PARAMETERS = {
    "d2l/alexnet": 46_764_746,
    "d2l/vgg11": 43_093_322,
    "d2l/nin": 1_992_166,
    "d2l/googlenet": 5_977_530,
    "d2l/resnet18": 11_178_378,
    "d2l/densenet": 758_226,
    "imagenet/alexnet": 61_100_840,
    "imagenet/vgg11": 132_863_336,
    "imagenet/vgg11_bn": 132_868_840,
    "imagenet/vgg13": 133_047_848,
    "imagenet/vgg13_bn": 133_053_736,
    "imagenet/vgg16": 138_357_544,
    "imagenet/vgg16_bn": 138_365_992,
    "imagenet/vgg19": 143_667_240,
    "imagenet/vgg19_bn": 143_678_248,
    "imagenet/googlenet": 6_624_904,
    "imagenet/resnet18": 11_689_512,
    "imagenet/resnet34": 21_797_672,
    "imagenet/resnet50": 25_557_032,
    "imagenet/resnet101": 44_549_160,
    "imagenet/resnet152": 60_192_808,
    "imagenet/densenet121": 7_978_856,
    "imagenet/densenet161": 28_681_000,
    "imagenet/densenet169": 14_149_480,
    "imagenet/densenet201": 20_013_928,
    "small/densenet_bc": 768_730,
}

# The numbers in the papers, which count with three channels.
PARAMETERS_IN_COLOR = {
    "small/densenet_bc": 769_162,
    "small/wrn_16_4": 2_748_890,
    "small/wrn_28_10": 36_479_194,
    "small/wrn_40_4": 8_949_210,
}


# The reference.


def rounded(value):
    """Rounds a tensor or number to nine digits, which is more than float32 has."""
    if isinstance(value, torch.Tensor):
        return [rounded(number) for number in value.detach().flatten().tolist()]
    return float(f"{value:.9g}")


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def trace(network, images):
    """The layers in the order they run, each with its output shape, and their multiply-adds."""
    layers = []
    macs = 0

    def hook(name):
        def note(layer, inputs, output):
            nonlocal macs
            layers.append([name, list(output.shape[1:])])
            if not isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                # Each output value takes one multiply-add for each weight of its channel.
                macs += output[0].numel() * layer.weight[0].numel()
        return note

    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.register_forward_hook(hook(name))
    with torch.no_grad():
        network.eval()(images)
    return layers, macs


def train(network, images):
    """The logits, loss and gradients of one training step."""
    labels = torch.arange(BATCH) * 3 % CLASSES
    outputs = network.train()(images)
    result = {}
    if isinstance(outputs, torch.Tensor):
        logits = outputs
        loss = nn.functional.cross_entropy(logits, labels)
    else:
        # torchvision returns the second auxiliary head before the first.
        logits = outputs.logits
        loss = nn.functional.cross_entropy(logits, labels)
        for number, auxiliary in ((1, outputs.aux_logits1), (2, outputs.aux_logits2)):
            result[f"auxiliary{number}"] = rounded(auxiliary)
            loss = loss + 0.3 * nn.functional.cross_entropy(auxiliary, labels)
    loss.backward()
    result["logits"] = rounded(logits)
    result["loss"] = rounded(loss.item())
    result["gradients"] = {
        name: gradient_summary(name, parameter.grad)
        for name, parameter in network.named_parameters()}
    return result


def gradient_summary(name, gradient):
    """Its norm, and its dot product with numbers from a formula, which depends on the order."""
    norm = gradient.norm().item()
    # A bias before batch norm has a gradient of zero, except for rounding errors of float64.
    if norm < 1e-12:
        return [0, 0]
    direction = torch.from_numpy(uniform("gradient:" + name, gradient.numel()))
    return [rounded(norm), rounded(gradient.flatten().dot(direction).item())]


def reference(key):
    builder, small_side, side, marks = NETWORKS[key]
    preset, name = key.split("/")
    channels, classes = PRESETS[preset]

    whole = built(builder, channels, classes)
    parameters = count_parameters(whole)
    assert parameters == PARAMETERS.get(key, parameters), (key, parameters)
    if key in PARAMETERS_IN_COLOR:
        in_color = count_parameters(built(builder, 3, classes))
        assert in_color == PARAMETERS_IN_COLOR[key], (key, in_color)
    layers, macs = trace(whole, torch.empty(1, channels, side, side, device="meta"))
    if preset == "imagenet" and name != "nin":
        published = 1e9 * models.get_model_weights(name).DEFAULT.meta["_ops"]
        assert abs(macs / published - 1) < 0.01, (key, macs, published)

    shape = (BATCH, channels, small_side, small_side)
    images = uniform("images", math.prod(shape)).astype(np.float32).reshape(shape)
    images = torch.from_numpy(images).double()
    network = fill(built(builder, channels, CLASSES))
    with torch.no_grad():
        prediction = network.eval()(images)
    result = {
        "input": list(shape[1:]),
        "prediction": rounded(prediction),
        "parameters": parameters,
        "entries": len(entries(whole)),
        "macs": macs,
    }
    if "L" in marks:
        result["layers"] = layers
    if "T" in marks:
        if key == "imagenet/googlenet":
            network = fill(built(builder, channels, CLASSES, True))
        result["training"] = train(network, images)
    return result


def main():
    result = {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "networks": {},
    }
    for key in NETWORKS:
        print(key, flush=True)
        result["networks"][key] = reference(key)
    path = Path(__file__).with_name("reference.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
