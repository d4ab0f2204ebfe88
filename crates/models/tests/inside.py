"""Makes inside.json: feature maps and Grad-CAM of some networks, computed by PyTorch.

Needs torch, torchvision and numpy: python crates/models/tests/inside.py

Weights and images are from the formula of reference.py, in float64.
"""

import json
import math
from pathlib import Path

import torch

from reference import BATCH, CLASSES, NETWORKS, PRESETS, built, fill, gradient_summary, rounded, uniform

# Each network's layers whose outputs are compared, by their names in PyTorch: those that no
# activation follows. Then how PyTorch gets from the images to the last feature map, and from there
# to the logits.
LENET = lambda net, x: net.pool(torch.sigmoid(net.bn2(net.conv2(net.pool(torch.sigmoid(net.bn1(net.conv1(x))))))))


def lenet_head(net, x):
    x = torch.sigmoid(net.bn3(net.fc1(x.flatten(1))))
    return net.fc3(torch.sigmoid(net.bn4(net.fc2(x))))


def resnet_features(net, x):
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def resnet_head(net, x):
    return net.fc(net.avgpool(x).flatten(1))


def vgg_head(net, x):
    return net.classifier(net.avgpool(x).flatten(1))


CASES = {
    "d2l/lenet_bn": (["conv1", "conv2"], LENET, lenet_head),
    "d2l/vgg11": ([], lambda net, x: net.features(x), vgg_head),
    "small/resnet18": (
        ["conv1", "layer1.0.conv1", "layer2.0.downsample.1", "layer3.1.conv2", "layer4.1.conv2"],
        resnet_features, resnet_head),
}


def inside(key):
    layers, features_of, head = CASES[key]
    builder, side, *_ = NETWORKS[key]
    channels, _ = PRESETS[key.split("/")[0]]
    network = fill(built(builder, channels, CLASSES)).eval()
    maps = {}
    for name, layer in network.named_modules():
        if name in layers:
            layer.register_forward_hook(
                lambda _, __, output, name=name: maps.update({name: gradient_summary(name, output)}))
    shape = (BATCH, channels, side, side)
    images = torch.from_numpy(uniform("images", math.prod(shape)).reshape(shape).astype("float32"))
    features = features_of(network, images.double())
    features.retain_grad()
    logits = head(network, features)
    classes = torch.arange(BATCH) * 3 % CLASSES
    logits.gather(1, classes[:, None]).sum().backward()
    weights = features.grad.mean(dim=(2, 3), keepdim=True)
    attention = torch.relu((features * weights).sum(dim=1))
    return {"maps": maps, "side": features.shape[-1], "grad_cam": rounded(attention)}


def main():
    result = {key: inside(key) for key in CASES}
    path = Path(__file__).with_name("inside.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
