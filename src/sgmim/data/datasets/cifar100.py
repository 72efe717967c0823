"""CIFAR-100: pictures of 32 x 32 pixels in 100 classes, the fine ones.

Alex Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.

    cifar-100-binary/train.bin, test.bin    the binary version
    train.npz, test.npz                     packed (data/cifar.py)
"""

from sgmim.data.cifar import Cifar

CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab",
    "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl",
    "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree",
    "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain",
    "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose",
    "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
BINARY = {"train": ("train.bin",), "test": ("test.bin",)}


class Cifar100(Cifar):
    """CIFAR-100: pictures of 32 x 32 pixels in 100 classes, the fine ones.

    Args:
        root: the folder with the files, or the one in which their archive was unpacked.
        split: "train" (50,000 pictures) or "test" (10,000), on which everybody reports.
    """

    title, benchmark = "CIFAR-100", "cifar100"
    origin = "cs.toronto.edu/~kriz/cifar.html: the binary version, cifar-100-binary.tar.gz (161 MB)"
    known_classes, binary, unpacked, labels_each = CLASSES, BINARY, "cifar-100-binary", 2
