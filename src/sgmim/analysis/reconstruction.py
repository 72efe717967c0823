"""How well is painted what is hidden: PSNR and SSIM of a pre-training method's own pictures.

KAMIM (Krishna and Subramanyam, 2024), table of reconstruction fidelity. Their numbers are of all
that is painted, also where the image was seen and no loss asked for it, in normalized colors; here
that is "painted", with --range normalized. What a method was trained for is "hidden".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import figure
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.analysis.fidelity import psnr, squared_error, ssim
from sgmim.data.geometry import NORMALIZATIONS, unnormalize
from sgmim.errors import ConfigurationError
from sgmim.masking import refine
from sgmim.objective import Batch, Objective, Painting

PARTS = {  # of an image
    "hidden": "hidden part",
    "filled": "image, filled",
    "painted": "all painted",  # also where the image was seen
}
SCORES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
HIDDEN = 0.85  # the grey that hidden patches are drawn in


class Reconstruction(Analysis):
    """PSNR and SSIM of what pre-training paints where images are hidden.

    Args:
        mask_ratio: share of each image that is hidden, the same for all methods; as in KAMIM's
            evaluation. With null each method hides as much as when it was trained.
        range: colors in [0, 1] ("unit"); or "normalized", neither brought back to colors nor
            clipped to them, and PSNR of the error of all images together: as KAMIM measures.
        shown: images in the figure.
    """

    title = "Reconstruction of hidden parts"
    whole = True

    def __init__(
        self,
        *,
        mask_ratio: float | None = 0.4,
        range: Literal["unit", "normalized"] = "unit",
        shown: int = 4,
    ):
        self.mask_ratio, self.range, self.shown = mask_ratio, range, shown

    @property
    def changes(self) -> Mapping[str, Any]:
        return {} if self.mask_ratio is None else {"mask_ratio": self.mask_ratio}

    def needed(self, subject: Subject) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("image", *_painter(subject).paints_from)))

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        method = _painter(subject)
        scores: dict[str, list[Tensor]] = {part: [] for part in PARTS}
        pictures: dict[str, Tensor] = {}
        for batch in batches:
            painting = method.paint(batch)
            if not painting.is_measured:
                raise ConfigurationError(
                    f"{subject.name} paints in the scale of each pixel's surroundings "
                    "(target_window), which are hidden, too: there are no colors to be measured"
                )
            pictures = pictures or self._pictures(painting, subject.normalization)
            for part, scored in self._scores(painting, subject.normalization):
                scores[part].append(scored)
        rows = [self._row(part, torch.cat(found, dim=1)) for part, found in scores.items() if found]
        return Findings(self._told(rows), rows, pictures)

    def _scores(
        self, painting: Painting, normalization: str
    ) -> Iterator[tuple[str, Float[Tensor, "3 b"]]]:
        """Squared error, PSNR and SSIM of each image, part by part."""
        image, hidden = self._colors(painting.image, normalization), _pixels(painting)
        filled = self._colors(painting.filled, normalization)
        painted = self._colors(painting.painted, normalization)
        everywhere, span = torch.ones_like(hidden), self._span(normalization)
        parts = {"hidden": (filled, hidden), "filled": (filled, everywhere)}
        if painted.isfinite().all():
            parts["painted"] = (painted, everywhere)
        for part, (made, where) in parts.items():
            error = squared_error(made, image, where)
            scored = torch.stack([error, psnr(error, span), ssim(made, image, where, span)])
            yield part, scored[:, hidden.any(dim=(1, 2))].double().cpu()

    def _row(self, part: str, scores: Float[Tensor, "3 n"]) -> Row:
        error, decibels, alike = scores
        return {
            "part": part,
            "images": scores.shape[1],
            "psnr": float(decibels.mean()),
            "psnr_deviation": float(decibels.std(correction=0)),
            "psnr_of_mean_error": float(decibels[0] + 10 * (error[0] / error.mean()).log10()),
            "ssim": float(alike.mean()),
            "ssim_deviation": float(alike.std(correction=0)),
        }

    def _told(self, rows: Sequence[Row]) -> dict[str, float]:
        name = "psnr" if self.range == "unit" else "psnr_of_mean_error"
        return {
            f"{told}, {row['part']}": float(row[score])
            for row in rows
            for told, score in (("PSNR (dB)", name), ("SSIM", "ssim"))
        }

    def _colors(self, image: Float[Tensor, "b c H W"], normalization: str) -> Tensor:
        image = image.float()
        return (
            image if self.range == "normalized" else unnormalize(image, normalization).clamp(0, 1)
        )

    def _span(self, normalization: str) -> float:
        """From the darkest to the brightest color there can be."""
        if self.range == "unit":
            return 1.0
        scales = list(zip(*NORMALIZATIONS[normalization], strict=True))
        brightest, darkest = (max((1 - m) / d for m, d in scales), min(-m / d for m, d in scales))
        return brightest - darkest

    def _pictures(self, painting: Painting, normalization: str) -> dict[str, Tensor]:
        """Some images, evenly spaced: whole, as they were seen, and painted."""
        kinds = {"image": painting.image, "seen": painting.seen, "painted": painting.filled}
        count = min(self.shown, len(painting.image))
        return {
            f"{kind} {number}": unnormalize(
                images[[number * len(images) // count]].float(), normalization
            )[0].clamp(0, 1)
            for kind, images in kinds.items()
            for number in range(count)
        }

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """Above, images, what each method saw of them and what it painted; below, its scores."""
        count = max(sum(n.startswith("image") for n in f.pictures) for f in findings.values())
        across = 1 + 2 * len(findings)
        width = figure.COLUMN if across == 3 else figure.PAGE
        side = min(1.3, width / across)
        heights = (count * side + 0.4, 0.85 + 0.3 * len(findings))
        sheet = Figure(figsize=(width, sum(heights)))
        parts: Any = sheet.subfigures(2, 1, height_ratios=heights)
        above, below = parts
        _draw_pictures(above.subplots(count, across, squeeze=False), findings)
        panels = below.subplots(1, 2, sharey=True, squeeze=False)[0]
        for axes, score in zip(panels, SCORES, strict=True):
            _draw_scores(axes, findings, score)
        figure.legend(below, panels[0], list(PARTS))
        return sheet


def _painter(subject: Subject) -> Objective:
    """The method of a subject, once it is known that it paints."""
    if subject.method is None or not subject.method.paints_from:
        raise ConfigurationError(
            f"{subject.name} was trained by a method that paints no images; simmim, sgmim, kamim, "
            "mae, croco and multimae do"
        )
    return subject.method


def _pixels(painting: Painting) -> Bool[Tensor, "b H W"]:
    """The pixels that were hidden."""
    return refine(painting.hidden, painting.image.shape[2] // painting.hidden.shape[1])


def _draw_pictures(cells: Any, findings: Mapping[str, Findings]) -> None:
    for axes in cells.flat:
        axes.set_axis_off()
    for number, line in enumerate(cells):
        shown = [("image", next(iter(findings.values())).pictures.get(f"image {number}"))]
        for name, found in findings.items():
            shown.append((f"{name}\nsees", found.pictures.get(f"seen {number}")))
            shown.append((f"{name}\npaints", found.pictures.get(f"painted {number}")))
        for axes, (title, picture) in zip(line, shown, strict=True):
            if picture is not None:
                axes.imshow(picture.nan_to_num(HIDDEN).movedim(0, -1).cpu().numpy())
            if number == 0:
                axes.set_title(title)


def _draw_scores(axes: Axes, findings: Mapping[str, Findings], score: str) -> None:
    """Mean and deviation over images, a line for each subject and a mark for each part."""
    for place, (part, label) in enumerate(PARTS.items()):
        rows = {
            number: row
            for number, found in enumerate(findings.values())
            for row in found.rows
            if row["part"] == part
        }
        axes.errorbar(
            [float(row[score]) for row in rows.values()],
            [number + 0.2 * (place - 1) for number in rows],
            xerr=[float(row[f"{score}_deviation"]) for row in rows.values()],
            label=label,
            elinewidth=0.7,
            **figure.marked(place) | {"linestyle": "none"},
        )
    axes.set_yticks(range(len(findings)), list(findings))
    axes.set(ylim=(len(findings) - 0.5, -0.5), xlabel=f"{SCORES[score]}\nmean ± deviation")
