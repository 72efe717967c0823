"""CIFAR-10: pictures of 32 x 32 pixels in 10 classes.

Alex Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.

    cifar-10-batches-bin/data_batch_1.bin ... test_batch.bin    the binary version
    train.npz, test.npz                                         packed (data/cifar.py)
"""

from sgmim.data.cifar import Cifar

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
BINARY = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}


class Cifar10(Cifar):
    """CIFAR-10: pictures of 32 x 32 pixels in 10 classes.

    Args:
        root: the folder with the files, or the one in which their archive was unpacked.
        split: "train" (50,000 pictures) or "test" (10,000), on which everybody reports.
    """

    title, benchmark = "CIFAR-10", "cifar10"
    origin = "cs.toronto.edu/~kriz/cifar.html: the binary version, cifar-10-binary.tar.gz (162 MB)"
    known_classes, binary, unpacked, labels_each = CLASSES, BINARY, "cifar-10-batches-bin", 1
