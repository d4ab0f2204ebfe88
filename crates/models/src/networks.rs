//! All networks of this crate, in one table.
//!
//! [`Architecture`], [`Network`] and [`NetworkConfig`] are made from it, and everything that lists
//! networks: the program's names and commands, and the tests over all networks. To add a network,
//! write its file, name it in `lib.rs`, and add it here: its file, module and config, and for each
//! variant its name and its presets, with the `[channels, height, width]` of the images.

use crate::network::networks;

networks! {
    lenet: LeNet(LeNetConfig) {
        LeNet "lenet" "LeNet-5.": D2l [1, 28, 28] lenet();
        LeNetBn "lenet_bn" "LeNet-5 with batch normalization.": D2l [1, 28, 28] lenet_bn();
    }
    alexnet: AlexNet(AlexNetConfig) {
        AlexNet "alexnet" "AlexNet.": D2l [1, 224, 224] d2l(), Imagenet [3, 224, 224] imagenet();
    }
    vgg: Vgg(VggConfig) {
        Vgg11 "vgg11" "VGG with 11 layers.":
            D2l [1, 224, 224] d2l(), Imagenet [3, 224, 224] vgg11(false);
        Vgg11Bn "vgg11_bn" "VGG with 11 layers and batch normalization.":
            Imagenet [3, 224, 224] vgg11(true);
        Vgg13 "vgg13" "VGG with 13 layers.": Imagenet [3, 224, 224] vgg13(false);
        Vgg13Bn "vgg13_bn" "VGG with 13 layers and batch normalization.":
            Imagenet [3, 224, 224] vgg13(true);
        Vgg16 "vgg16" "VGG with 16 layers.": Imagenet [3, 224, 224] vgg16(false);
        Vgg16Bn "vgg16_bn" "VGG with 16 layers and batch normalization.":
            Imagenet [3, 224, 224] vgg16(true), Small [1, 28, 28] vgg16_bn_small();
        Vgg19 "vgg19" "VGG with 19 layers.": Imagenet [3, 224, 224] vgg19(false);
        Vgg19Bn "vgg19_bn" "VGG with 19 layers and batch normalization.":
            Imagenet [3, 224, 224] vgg19(true);
    }
    nin: Nin(NinConfig) {
        Nin "nin" "Network in network.": D2l [1, 224, 224] d2l(), Imagenet [3, 224, 224] imagenet();
    }
    googlenet: GoogLeNet(GoogLeNetConfig) {
        GoogLeNet "googlenet" "GoogLeNet.":
            D2l [1, 96, 96] d2l(), Imagenet [3, 224, 224] imagenet();
    }
    resnet: ResNet(ResNetConfig) {
        ResNet18 "resnet18" "ResNet with 18 layers.":
            D2l [1, 96, 96] d2l(), Imagenet [3, 224, 224] resnet18(), Small [1, 28, 28] resnet18_small();
        ResNet34 "resnet34" "ResNet with 34 layers.": Imagenet [3, 224, 224] resnet34();
        ResNet50 "resnet50" "ResNet with 50 layers, with bottlenecks.": Imagenet [3, 224, 224] resnet50();
        ResNet101 "resnet101" "ResNet with 101 layers, with bottlenecks.": Imagenet [3, 224, 224] resnet101();
        ResNet152 "resnet152" "ResNet with 152 layers, with bottlenecks.": Imagenet [3, 224, 224] resnet152();
    }
    wide_resnet: WideResNet(WideResNetConfig) {
        Wrn16_1 "wrn_16_1" "Residual network with 16 layers, normalization before each convolution.": Small [1, 28, 28] wrn_16_1();
        Wrn16_2 "wrn_16_2" "Wide residual network with 16 layers, 2 times as wide.": Small [1, 28, 28] wrn_16_2();
        Wrn16_4 "wrn_16_4" "Wide residual network with 16 layers, 4 times as wide.": Small [1, 28, 28] wrn_16_4();
        Wrn28_10 "wrn_28_10" "Wide residual network with 28 layers, 10 times as wide.": Small [1, 28, 28] wrn_28_10();
        Wrn40_4 "wrn_40_4" "Wide residual network with 40 layers, 4 times as wide.": Small [1, 28, 28] wrn_40_4();
    }
    densenet: DenseNet(DenseNetConfig) {
        DenseNet "densenet" "The notes' DenseNet.": D2l [1, 96, 96] d2l();
        DenseNetBc "densenet_bc" "DenseNet-BC with growth rate 12 and 100 layers.": Small [1, 28, 28] densenet_bc();
        DenseNet121 "densenet121" "DenseNet with 121 layers.": Imagenet [3, 224, 224] densenet121();
        DenseNet161 "densenet161" "DenseNet with 161 layers.": Imagenet [3, 224, 224] densenet161();
        DenseNet169 "densenet169" "DenseNet with 169 layers.": Imagenet [3, 224, 224] densenet169();
        DenseNet201 "densenet201" "DenseNet with 201 layers.": Imagenet [3, 224, 224] densenet201();
    }
}
