"""Features of single pixels and of their surroundings, for methods that look at one row each.

They are computed once from the whole scene. No label enters; the pixels of test areas do, as they
do when a map is made.

Letters: H, W the grid, C all bands, F features.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import eigh
from skimage.morphology import dilation, disk, erosion, reconstruction
from sklearn.decomposition import PCA

from m3amba_geo.geo.raster import Mask
from training.cases import Scene

Features = NDArray[np.float32]

WINDOWS = (3, 5, 9)  # pixels
RADII = (1, 2, 4, 8)  # pixels
AVERAGED, FRACTIONED = (5, 11), (3, 7, 15)  # pixels
FLOOR = 0.01  # of the mean variance
SHARE, MOST = 0.99, 6  # of the variance, in so many components


@cache
def raw(scene: Scene) -> Features:
    """Returns all bands, in standard deviations from the scene's mean, `(H, W, C)`.

    Invalid pixels take the value of the nearest valid one, so that windows and profiles near them
    are not drawn to an arbitrary number.
    """
    bands = np.concatenate(scene.pixels).transpose(1, 2, 0)  # (H, W, C)
    if not scene.valid.all():
        nearest = ndimage.distance_transform_edt(
            ~scene.valid, return_distances=False, return_indices=True
        )
        bands = bands[tuple(nearest)]
    inside = bands[scene.valid]
    deviation = inside.std(axis=0)
    return (bands - inside.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


@cache
def local(scene: Scene) -> Features:
    """Returns the bands, and mean and standard deviation of each in square windows."""
    bands = raw(scene)
    parts = [bands]
    for side in WINDOWS:
        mean, deviation = local_moments(bands, side)
        parts += [mean, deviation]
    return np.concatenate(parts, axis=2)


def local_moments(bands: Features, side: int) -> tuple[Features, Features]:
    """Returns mean and standard deviation in windows of `side` pixels, each `(H, W, C)`.

    Beyond the edge the scene is mirrored.
    """
    window = (side, side, 1)
    exact = bands.astype(np.float64)  # the difference of squares would lose digits
    mean = ndimage.uniform_filter(exact, window)
    square = ndimage.uniform_filter(exact**2, window)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


@cache
def means(scene: Scene) -> Features:
    """Returns decorrelated means of the bands, `(H, W, F)`: means brought to one variance."""
    parts = []
    for side in AVERAGED:
        mean, _ = local_moments(raw(scene), side)
        inside = mean[scene.valid].astype(np.float64)
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(inside.T)))
        deviations = np.sqrt(np.maximum(variances, 0) + FLOOR * variances.mean())
        parts.append((mean - inside.mean(axis=0)) @ (axes / deviations))
    return np.concatenate(parts, axis=2).astype(np.float32)


@cache
def fractions(scene: Scene) -> Features:
    """Returns minimum noise fractions of means, `(H, W, F)`, as our network sees them.

    Their size tells how much more they vary than noise does; it is 1 in the mean (Green et al.
    1988).
    """
    parts = []
    for side in FRACTIONED:
        mean, _ = local_moments(raw(scene), side)
        inside = mean[scene.valid].astype(np.float64)
        noise = np.atleast_2d(np.cov(contrasts(mean, scene.valid, side // 2 + 1).T))
        noise += FLOOR * np.trace(noise) / len(noise) * np.eye(len(noise))
        variances, axes = eigh(np.atleast_2d(np.cov(inside.T)), noise)
        parts.append((mean - inside.mean(axis=0)) @ axes[:, ::-1] / variances.mean() ** 0.5)
    return np.concatenate(parts, axis=2).astype(np.float32)


def contrasts(mean: Features, valid: Mask, lag: int) -> Features:
    """Returns differences `(n, C)` of valid pixels so far apart in a row or column.

    They are the smaller half, and each with both its signs, so that their mean is 0.
    """
    downward = (mean[lag:] - mean[:-lag])[valid[lag:] & valid[:-lag]]
    sideward = (mean[:, lag:] - mean[:, :-lag])[valid[:, lag:] & valid[:, :-lag]]
    found = np.concatenate([downward, sideward]).astype(np.float64)
    sizes = np.linalg.norm(found, axis=1)
    found = found[sizes <= np.median(sizes)]
    return np.concatenate([found, -found])


@cache
def profiles(scene: Scene) -> Features:
    """Returns the bands and their extended morphological profile.

    Of each leading principal component: itself, its openings and its closings by reconstruction
    with growing disks (Benediktsson, Palmason and Sveinsson 2005).
    """
    bands = raw(scene)
    pca = PCA(SHARE, svd_solver="full").fit(bands[scene.valid])
    components = pca.transform(bands.reshape(-1, bands.shape[2]))[:, :MOST]
    images = components.reshape(*bands.shape[:2], -1)
    layers = [layer for n in range(images.shape[2]) for layer in profile(images[..., n])]
    return np.concatenate([bands, np.stack(layers, axis=2)], axis=2).astype(np.float32)


def profile(image: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Yields an image `(H, W)`, its openings and its closings, by reconstruction."""
    yield image
    for radius in RADII:
        shape = disk(radius)
        yield reconstruction(erosion(image, shape), image, method="dilation")
        yield reconstruction(dilation(image, shape), image, method="erosion")


FEATURES: dict[str, Callable[[Scene], Features]] = {
    "raw": raw,
    "local": local,
    "profiles": profiles,
    "means": means,
    "fractions": fractions,
}
