"""Segmentation in TorchScript: from a read image to a mask, without debride and without Python.

The code here is compiled by ``torch.jit.script``, so it is plain: no generators, types that TorchScript knows, and annotations
that are no strings.
Each step does what its namesake does that ``debride predict`` uses, in the same order, so that masks agree.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskModule(nn.Module):
    """A method with the preparation of its images and what becomes of its probabilities.

    ``graph`` maps images (B, C, *S) to probabilities (B, K, *S). ``weights`` (K,) are what a calibration multiplies them by,
    ``values`` (K,) the label value of each class, ``importance`` (*patch) the weights of windows.
    """

    weights: Tensor
    values: Tensor
    importance: Tensor
    patch: list[int]
    steps: list[int]
    fixed: list[int]
    image_size: list[int]
    spacing: list[float]
    rules: list[str]
    lows: list[float]
    highs: list[float]
    means: list[float]
    stds: list[float]

    def __init__(
        self,
        graph: nn.Module,
        *,
        ndim: int,
        channels: int,
        weights: Tensor,
        values: Tensor,
        importance: Tensor,
        patch: list[int],
        steps: list[int],
        at_once: int,
        multiple: int,
        fixed: list[int],
        image_size: list[int],
        spacing: list[float],
        rules: list[str],
        lows: list[float],
        highs: list[float],
        means: list[float],
        stds: list[float],
        crop: bool,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.register_buffer("weights", weights)
        self.register_buffer("values", values)
        self.register_buffer("importance", importance)
        self.ndim, self.channels, self.at_once, self.multiple, self.crop = ndim, channels, at_once, multiple, crop
        self.patch, self.steps, self.fixed, self.image_size = patch, steps, fixed, image_size
        self.spacing, self.rules, self.lows, self.highs = spacing, rules, lows, highs
        self.means, self.stds = means, stds

    def forward(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K, *S) of prepared images (B, C, *S), times the weights."""
        return self.network(image) * self.spread(self.weights, self.ndim)

    @torch.jit.export
    def predict(self, image: Tensor, spacing: list[float]) -> Tensor:
        """Label values (*S) int64 of a read image (C, *S), x last, of any type. ``spacing`` in mm is in the order of S; it may
        be empty for a run that does not resample to one."""
        if image.dim() != self.ndim + 1 or image.shape[0] != self.channels:
            raise RuntimeError(f"the image has the shape {image.shape}, not {self.channels} channels and {self.ndim} axes")
        whole = image.float()
        if not bool(torch.isfinite(whole).all()):
            raise RuntimeError("the image holds values that are NaN or infinite: replace them, as by the background value")
        mask = torch.zeros(whole.shape[1:], dtype=torch.long, device=image.device)
        inside = whole
        box = self.box(whole)
        for axis in range(self.ndim):
            inside = inside.narrow(axis + 1, box[2 * axis], box[2 * axis + 1])
        ids = self.segment(inside.clone(), spacing)
        part = mask
        for axis in range(self.ndim):
            part = part.narrow(axis, box[2 * axis], box[2 * axis + 1])
        part.copy_(ids)
        return self.values[mask]

    @torch.jit.export
    def predict_xyz(self, image: Tensor, spacing: list[float]) -> Tensor:
        """As ``predict``, for images (C, X, Y) or (C, X, Y, Z) as MONAI reads them, and spacings in that order; the mask is
        (1, X, Y) or (1, X, Y, Z). A single slice of a volume counts as an image with two axes."""
        slice_of_volume = self.ndim == 2 and image.dim() == 4 and image.shape[3] == 1
        if slice_of_volume:
            image = image.squeeze(3)
        turned = self.turned(image, 1)
        mask = self.turned(self.predict(turned, spacing[: self.ndim][::-1]), 0)[None].contiguous()
        return mask.unsqueeze(3) if slice_of_volume else mask

    def turned(self, array: Tensor, first: int) -> Tensor:
        """An array with its axes from ``first`` on in the other order."""
        return array.permute(list(range(first)) + list(range(array.dim() - 1, first - 1, -1)))

    def spread(self, numbers: Tensor, axes: int) -> Tensor:
        """Numbers (K,) as (K, 1, ...) with so many axes more."""
        for _ in range(axes):
            numbers = numbers.unsqueeze(-1)
        return numbers

    def box(self, image: Tensor) -> list[int]:
        """Start and length along each axis of the part of an image (C, *S) that is looked at (``data.cropping.crop_box``)."""
        whole = [0, 0]
        for axis in range(self.ndim):
            whole += [0, image.shape[axis + 1]]
        whole = whole[2:]
        if not self.crop:
            return whole
        filled = (image != 0).any(dim=0)
        found = [0, 0]
        for axis in range(self.ndim):
            occupied = torch.nonzero(filled.movedim(axis, 0).flatten(1).any(dim=1)).flatten()
            if len(occupied) == 0:
                return whole
            start = int(occupied[0])
            found += [start, int(occupied[-1]) + 1 - start]
        return found[2:]

    def segment(self, image: Tensor, spacing: list[float]) -> Tensor:
        """Class ids (*S) int64 of a cropped image (C, *S), which is changed."""
        shape = list(image.shape[1:])
        probability = self.probabilities(self.resized(self.normalised(image), self.working_shape(shape, spacing)))
        probability = probability * self.spread(self.weights, self.ndim)
        ids = torch.zeros(shape, dtype=torch.long, device=image.device)
        largest = torch.full(shape, float("-inf"), device=image.device)
        for number in range(probability.shape[0]):  # class by class, the first of equal ones (``inference.segment``)
            share = self.resized(probability[number : number + 1], shape)[0]
            ids = ids.masked_fill(share > largest, number)
            largest = torch.maximum(largest, share)
        return ids

    def normalised(self, image: Tensor) -> Tensor:
        """An image (C, *S) by its rules for intensities, in place (``data.cache``)."""
        for number in range(len(self.rules)):
            part = image if len(self.rules) == 1 else image[number : number + 1]
            kind, low, high = self.rules[number], self.lows[number], self.highs[number]
            if kind == "none":
                continue
            if kind == "byte":
                part.div_(255)
                continue
            if kind == "ct":
                part.clamp_(low, high).sub_(self.means[number]).div_(self.stds[number])
                continue
            if kind == "clip":
                part.clamp_(low, high).sub_(low).mul_(2 / (high - low)).sub_(1)
                continue
            if kind == "percentile":
                for channel in range(part.shape[0]):
                    values = part[channel].flatten()
                    part[channel].clamp_(self.percentile(values, low), self.percentile(values, high))
            flat = part.flatten(1)
            if kind == "unit":
                least, most = flat.amin(1), flat.amax(1)
                part.sub_(self.spread(least, self.ndim)).div_(self.spread((most - least).clamp_min(1e-6), self.ndim))
            else:
                mean, std = flat.mean(1), flat.std(1, correction=0).clamp_min(1e-6)
                part.sub_(self.spread(mean, self.ndim)).div_(self.spread(std, self.ndim))
        return image

    def percentile(self, values: Tensor, percent: float) -> float:
        """A percentile of values (N,), linear between the two next to it, as NumPy's."""
        place = percent / 100 * (values.shape[0] - 1)
        below = int(place)
        above = min(below + 1, values.shape[0] - 1)
        low, high = values.kthvalue(below + 1)[0], values.kthvalue(above + 1)[0]
        part, step = place - below, float(high - low)
        return float(high) - step * (1 - part) if part >= 0.5 else float(low) + step * part

    def working_shape(self, shape: list[int], spacing: list[float]) -> list[int]:
        """The shape that an image of a shape is resized to."""
        if len(self.image_size) > 0:
            return self.image_size
        if len(self.spacing) == 0:
            return shape
        if len(spacing) != self.ndim:
            raise RuntimeError("this run resamples to a spacing, and the image's spacing is not given")
        lengths = [shape[axis] * spacing[axis] / self.spacing[axis] for axis in range(self.ndim)]
        return [max(1, int(round(length))) for length in lengths]  # noqa: RUF046 - TorchScript's round gives a float

    def resized(self, x: Tensor, shape: list[int]) -> Tensor:
        """(C, *S) resized, linear with anti-aliasing, in 3D within slices first (``data.cache.resize``)."""
        if list(x.shape[1:]) == list(shape):
            return x
        if self.ndim == 2:
            return F.interpolate(x[None], size=shape, mode="bilinear", align_corners=False, antialias=True)[0]
        depth = x.shape[1]
        planes = x.flatten(0, 1)[None]
        planes = F.interpolate(planes, size=shape[1:], mode="bilinear", align_corners=False, antialias=True)[0]
        columns = planes.reshape(x.shape[0], depth, -1)
        size = [shape[0], columns.shape[2]]
        columns = F.interpolate(columns[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
        return columns.reshape(x.shape[0], shape[0], shape[1], shape[2])

    def probabilities(self, working: Tensor) -> Tensor:
        """Class probabilities (K, *S) of a working image (C, *S): at once, or by windows (``inference.probabilities``)."""
        fits = True
        for axis in range(len(self.patch)):
            fits = fits and working.shape[axis + 1] <= self.patch[axis]
        if fits:
            return self.network(working[None])[0]
        stitched = self.by_windows(working)
        return stitched.div_(stitched.sum(dim=0, keepdim=True))

    def by_windows(self, image: Tensor) -> Tensor:
        """Class probabilities (K, *S) of an image (C, *S), padded by zeros to a window, from overlapping windows by their
        weighted mean, as ``monai.inferers.sliding_window_inference`` has it."""
        shape = list(image.shape[1:])
        padding = [0]
        for axis in range(self.ndim - 1, -1, -1):
            missing = max(self.patch[axis] - shape[axis], 0)
            padding += [missing // 2, missing - missing // 2]
        image = F.pad(image, padding[1:])
        starts = [self.starts(image.shape[axis + 1], self.patch[axis], self.steps[axis]) for axis in range(self.ndim)]
        count = 1
        for axis in range(self.ndim):
            count *= len(starts[axis])
        weight = torch.zeros_like(image[:1])
        total = torch.cat([weight] * self.weights.shape[0])
        for first in range(0, count, self.at_once):
            numbers = list(range(first, min(first + self.at_once, count)))
            scores = self.network(torch.stack([self.window(image, number, starts) for number in numbers]))
            for place in range(len(numbers)):
                self.window(total, numbers[place], starts).add_(scores[place] * self.importance)
                self.window(weight, numbers[place], starts).add_(self.importance)
        total.div_(weight)
        for axis in range(self.ndim):
            total = total.narrow(axis + 1, max(self.patch[axis] - shape[axis], 0) // 2, shape[axis])
        return total

    def starts(self, length: int, size: int, step: int) -> list[int]:
        """Where windows of a size begin along an axis of a length: every ``step`` pixels, the last at the end."""
        found = [0]
        while found[-1] + size < length:
            found.append(min(found[-1] + step, length - size))
        return found

    def window(self, array: Tensor, number: int, starts: list[list[int]]) -> Tensor:
        """The part of an array (N, *S) in a window, as a view; windows are counted along the last axis first."""
        for axis in range(self.ndim - 1, -1, -1):
            many = len(starts[axis])
            array = array.narrow(axis + 1, starts[axis][number % many], self.patch[axis])
            number = number // many
        return array

    def network(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K, *S) of images (B, C, *S), which are padded by their border values to what the graph
        takes (``networks.Network``)."""
        shape = image.shape[2:]
        padding = [0]
        single = self.multiple > 1
        for axis in range(self.ndim):
            single = single and shape[axis] <= self.multiple
        for axis in range(self.ndim - 1, -1, -1):
            more = -shape[axis] % self.multiple
            padding += [0, more + self.multiple if single and axis == self.ndim - 1 else more]
        padding = padding[1:]
        if max(padding) > 0:
            image = F.pad(image, padding, mode="replicate")
        if len(self.fixed) == 0:
            scores: Tensor = self.graph(image)
        else:
            if list(image.shape[2:]) != self.fixed:
                raise RuntimeError(f"this network takes images of {self.fixed}, not of {image.shape[2:]}")
            scores = torch.cat([self.graph(image[each : each + 1]) for each in range(image.shape[0])])
        for axis in range(self.ndim):
            scores = scores.narrow(axis + 2, 0, shape[axis])
        return scores
