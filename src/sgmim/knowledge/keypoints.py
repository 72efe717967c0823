"""Keypoints: FAST in torch, many images at once; ORB and SIFT by OpenCV, one by one.

A map of points is 1 at the pixel of a keypoint and 0 elsewhere; "rings" is the picture that OpenCV
draws of keypoints, which KAMIM's code takes for their map. Images are bytes, or colors in [0, 1].
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError
from sgmim.knowledge import fast9
from sgmim.knowledge.maker import Function

Detector = Literal["fast", "orb", "sift"]
# Of red, green and blue in 2^-15, as OpenCV has them (imgproc, color_rgb): 0.299, 0.587, 0.114
LUMA = (9798, 19235, 3735)


def maker(
    *,
    detector: Detector = "fast",
    threshold: int = 10,
    features: int = 500,
    contrast: float = 0.04,
    bgr: bool = False,
) -> Function:
    """Keypoints, as maps of points that are called after their detector.

    Args:
        detector: "fast" (FAST-9/16, by ourselves), "orb" or "sift" (by OpenCV).
        threshold: of FAST: by how much all of an arc is brighter or darker, in grey levels.
        features: of ORB: how many keypoints are kept.
        contrast: of SIFT: how much contrast a keypoint has at least.
        bgr: weigh red as blue and blue as red, as KAMIM's code does: it hands OpenCV, which expects
            blue, green, red, the colors the other way round.
    """
    finders: dict[str, Callable[..., Tensor]] = {"fast": fast, "orb": orb, "sift": sift}
    own = {"fast": ("threshold", threshold), "orb": ("features", features)}
    option, value = own.get(detector, ("contrast", contrast))
    note = Note(
        name=detector,
        meaning="1 at the pixel of a keypoint, 0 elsewhere",
        source="sgmim" if detector == "fast" else f"OpenCV {_cv2().__version__}",
        version=f"{option} {value}" + ", red and blue swapped" * bgr,
        scale=1.0,
        kind="points",
    )
    return Function(partial(finders[detector], bgr=bgr, **{option: value}), note)


def fast(
    image: Shaped[Tensor, "b 3 H W"], *, threshold: int = 10, bgr: bool = False
) -> Float[Tensor, "b 1 H W"]:
    """FAST-9/16 with non-maximum suppression, on the image's device: OpenCV's points exactly."""
    return fast9.points(grey(image, bgr=bgr), threshold)[:, None].float()


def orb(
    image: Shaped[Tensor, "b 3 H W"], *, features: int = 500, bgr: bool = False
) -> Float[Tensor, "b 1 H W"]:
    """ORB's points, each at the pixel of its rounded center."""
    return _marked(grey(image, bgr=bgr), _orb(features))


def sift(
    image: Shaped[Tensor, "b 3 H W"], *, contrast: float = 0.04, bgr: bool = False
) -> Float[Tensor, "b 1 H W"]:
    """SIFT's points, each at the pixel of its rounded center."""
    return _marked(grey(image, bgr=bgr), _sift(contrast))


def fast_rings(
    image: Shaped[Tensor, "b 3 H W"], *, threshold: int = 10, bgr: bool = False
) -> Float[Tensor, "b 1 H W"]:
    """Where OpenCV draws FAST's keypoints: 1 on a ring around each. See `rasters.ring`."""
    return _drawn(grey(image, bgr=bgr), _fast(threshold))


def orb_rings(
    image: Shaped[Tensor, "b 3 H W"], *, features: int = 500, bgr: bool = False
) -> Float[Tensor, "b 1 H W"]:
    """Where OpenCV draws ORB's keypoints: 1 on a ring around each, whose center is no pixel's."""
    return _drawn(grey(image, bgr=bgr), _orb(features))


def sift_rings(
    image: Shaped[Tensor, "b 3 H W"], *, contrast: float = 0.04, bgr: bool = False
) -> Float[Tensor, "b 1 H W"]:
    """Where OpenCV draws SIFT's keypoints: 1 on a ring around each, whose center is no pixel's."""
    return _drawn(grey(image, bgr=bgr), _sift(contrast))


def grey(image: Shaped[Tensor, "b 3 H W"], *, bgr: bool = False) -> UInt8[Tensor, "b H W"]:
    """Luminance in the fixed point of OpenCV, to the bit."""
    if image.is_floating_point():
        image = (255 * image).round().clamp(0, 255).byte()
    one, two, three = image.unbind(1)
    first, second, third = LUMA[::-1] if bgr else LUMA
    shade = one.int().mul_(first).add_(two, alpha=second).add_(three, alpha=third)
    return shade.add_(1 << 14).bitwise_right_shift_(15).byte()


def _marked(shades: UInt8[Tensor, "b H W"], detector: Any) -> Float[Tensor, "b 1 H W"]:
    points = np.zeros(shades.shape, np.float32)
    last = np.array(shades.shape[1:]) - 1
    for marked, shade in zip(points, shades.cpu().numpy(), strict=True):
        centers = np.array(_cv2().KeyPoint_convert(detector.detect(shade))).reshape(-1, 2)
        row, column = np.minimum(centers[:, ::-1].round().astype(int), last).T
        marked[row, column] = 1
    return torch.from_numpy(points)[:, None].to(shades.device)


def _drawn(shades: UInt8[Tensor, "b H W"], detector: Any) -> Float[Tensor, "b 1 H W"]:
    rings = np.zeros(shades.shape, np.float32)
    for ring, shade in zip(rings, shades.cpu().numpy(), strict=True):
        canvas = np.zeros((*ring.shape, 3), np.uint8)
        drawn = _cv2().drawKeypoints(canvas, detector.detect(shade), None, color=(255, 0, 0))
        ring[:] = drawn[..., 0] > 0  # the outermost pixels of a ring are dim: they count like all
    return torch.from_numpy(rings)[:, None].to(shades.device)


# One detector a process: to make one takes longer than to ask it about a small image.
@cache
def _fast(threshold: int) -> Any:
    return _cv2().FastFeatureDetector_create(threshold=threshold)


@cache
def _orb(features: int) -> Any:
    return _cv2().ORB_create(nfeatures=features)


@cache
def _sift(contrast: float) -> Any:
    return _cv2().SIFT_create(contrastThreshold=contrast)


def _cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ConfigurationError(
            "ORB, SIFT and rings as drawn need OpenCV: pip install 'sgmim[keypoints]'"
        ) from error
    return cv2
