"""Every setting there is, as frozen dataclasses.

Validation is pydantic's: a wrong type, a value out of range or an unknown key is an error that
names the key. `config_file` reads them from TOML.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

_OF_A_SHAPEFILE = (".shx", ".dbf", ".prj", ".cpg")

Size = Literal["tiny", "small", "base"]
SizeChoice = Literal["auto", "tiny", "small", "base"]
Device = Literal["auto", "cpu", "cuda", "mps"]
ScanName = Literal["auto", "reference", "cpu", "triton", "mamba_ssm"]
Precision = Literal["auto", "fp32", "bf16"]
Resampling = Literal["nearest", "bilinear", "cubic", "average"]
GuideMode = Literal["auto", "clip", "none"]
Embedding = Literal["learned", "pca"]
SplitBy = Literal["auto", "polygon", "block", "none"]

WIDTH_AND_DEPTH: dict[Size, tuple[int, int]] = {"tiny": (48, 2), "small": (96, 4), "base": (384, 9)}


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError("a neighbourhood has a pixel in its middle: its side is odd")
    return side


Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=33), AfterValidator(_odd)]
Share = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class NetworkConfig:
    """Shape of the network (paper, section 3; letters as in `m3amba_geo.model`).

    Attributes:
        bands: Features of each modality, `(C_1, ..., C_N)`: its bands, or what is made of them.
        classes: Number of classes `Q`.
        size: Named width and depth; `width` and `depth` override it where given.
        width: Model width `E`.
        depth: Number of crossing and fusion steps.
        states: States of the scan, `S`.
        patch: Side `P` of the square patches in pixels.
        embedding: Width `F` of the image embeddings; 0 builds no adapters (`--guide none`).
        drop_path: Rate of stochastic depth in the last step; linear from 0 over the depth.
        linear_head: Whether a softmax regression of single pixels takes part in the fused logits.
    """

    bands: Annotated[tuple[Count, ...], Field(min_length=1)]
    classes: Annotated[int, Field(ge=2, le=65535)]
    size: Size = "tiny"
    width: Annotated[int, Field(ge=0, le=4096)] = 0
    depth: Annotated[int, Field(ge=0, le=64)] = 0
    states: Annotated[int, Field(ge=1, le=256)] = 16
    patch: Annotated[int, Field(ge=4, le=256)] = 32
    embedding: Annotated[int, Field(ge=0, le=8192)] = 512
    drop_path: Share = 0.1
    linear_head: bool = False

    def __post_init__(self) -> None:
        width, depth = WIDTH_AND_DEPTH[self.size]
        object.__setattr__(self, "width", self.width or width)
        object.__setattr__(self, "depth", self.depth or depth)

    def called(self) -> str:
        """Returns the name of the size that has this width and depth, empty where none has."""
        ours = (self.width, self.depth)
        return next((name for name, theirs in WIDTH_AND_DEPTH.items() if theirs == ours), "")


@dataclass(frozen=True, config=STRICT)
class ModalityConfig:
    """One modality: a file with several bands, or several files whose bands follow each other."""

    name: str
    files: Annotated[tuple[Path, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class LabelConfig:
    """Where ground truth comes from.

    Attributes:
        path: Vector file, or a raster of class codes.
        layer: Layer of a vector file with several.
        field: Class field, text or integer; may be left out where exactly one field fits.
        name_field: Field with class names, where `field` holds codes.
        color_field: Field with colours such as `#2d6a4f`.
        legend: CSV file with the columns `code,name,color` (`name` and `color` optional).
        all_touched: Label every pixel that a polygon touches, not only those whose centre lies
            inside. Lines always label every pixel they pass, points the one they fall in.
    """

    path: Path
    layer: str | None = None
    field: str | None = None
    name_field: str | None = None
    color_field: str | None = None
    legend: Path | None = None
    all_touched: bool = False

    @property
    def inputs(self) -> list[Path]:
        """The files that it names, a shapefile's companions among them."""
        companions = _OF_A_SHAPEFILE if self.path.suffix.lower() == ".shp" else ()
        legend = [] if self.legend is None else [self.legend]
        return [self.path, *map(self.path.with_suffix, companions), *legend]


@dataclass(frozen=True, config=STRICT)
class SceneConfig:
    """One place: its modalities, its grid, its labels.

    Attributes:
        modalities: In the order in which the network takes them.
        labels: Ground truth to train on.
        test_labels: Ground truth that training never sees; turns the random test share off.
        grid: Raster whose grid all modalities are warped onto; the first modality's if None.
        resampling: Method of that warp.
    """

    modalities: Annotated[tuple[ModalityConfig, ...], Field(min_length=1)]
    labels: LabelConfig | None = None
    test_labels: LabelConfig | None = None
    grid: Path | None = None
    resampling: Resampling = "bilinear"

    @property
    def inputs(self) -> list[Path]:
        """The files that it names."""
        labels = [config for config in (self.labels, self.test_labels) if config is not None]
        return [
            *(file for modality in self.modalities for file in modality.files),
            *(file for config in labels for file in config.inputs),
            *([] if self.grid is None else [self.grid]),
        ]


@dataclass(frozen=True, config=STRICT)
class SplitConfig:
    """How labelled pixels are parted into training, validation and test.

    Attributes:
        by: Unit that is never torn apart: `polygon` (a label raster's connected patches count as
            polygons) or `block` (squares of `block` pixels); `auto` takes polygons where labels
            are polygons and blocks elsewhere; `none` trains on every labelled pixel.
        validation: Share of labelled pixels kept for early stopping.
        test: Share of labelled pixels kept out of training altogether.
        gap: Held-out pixels nearer than this many pixels to a training pixel are not used.
        block: Side of the blocks in pixels.
    """

    by: SplitBy = "auto"
    validation: Share = 0.2
    test: Share = 0.0
    gap: Annotated[int, Field(ge=0)] = 16
    block: Annotated[int, Field(ge=1)] = 64


@dataclass(frozen=True, config=STRICT)
class GuideConfig:
    """The frozen image encoder that guides the fusion (paper, section 3.2).

    Attributes:
        mode: `clip` needs weights and may download them; `auto` uses weights that are already
            on this machine and never opens a connection; `none` works without.
        architecture: An open_clip architecture, QuickGELU included in the name.
        weights: Local file (`.safetensors`, or `.pt` with a state dict).
        embedding: How the bands of a modality become the three of an image: `learned` with the
            network, as published, or `pca`, the principal components of the training pixels.
            With these nothing before the encoder changes in training, so that each window is
            encoded once, and kept on disk for the next training.
    """

    mode: GuideMode = "auto"
    architecture: str = "ViT-B-32-quickgelu"
    weights: Path | None = None
    embedding: Embedding = "learned"


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """How the network is trained; the defaults are meant to need no tuning for a scene.

    The paper's optimiser, rates, epochs and lambdas were never released; these are this project's
    own choice (ARCHITECTURE.md, "Decisions").

    Attributes:
        out: Model file to write.
        size: Size of the network; `auto` chooses from labels, bands, pixels and device.
        patch: Patch side in pixels.
        neighbourhoods: Sides in pixels, odd: the network sees bands averaged over neighbourhoods of
            these sizes, as minimum noise fractions; none shows it the bands as they are, as
            published.
        epochs: Passes over all squares of 8 x 8 pixels with a training label; None chooses from
            their number.
        batch: Patches a step, of all processes together.
        learning_rate: Peak of the warm-up and cosine schedule.
        weight_decay: Of weights only; never of norms, biases, `A_log`, `D`.
        supervised: Lambda 1, weight of the cross-entropy of all heads.
        unsupervised: Lambda 2, weight of the cosine term, unlabelled pixels included.
        self_training: Weight of the cross-entropy with what a teacher makes of the unlabelled
            pixels of patches: at first a softmax regression of single pixels, later the averaged
            weights, where they are sure, or the regression still, where labels are in doubt: fewer
            than 1,000 pixels, of which it misses over a tenth; 0 trains on labels alone.
        linear_head: Whether this softmax regression takes part in the map, too; where labels are in
            doubt the network's logits count a quarter beside it.
        borders: Chance that a patch is made of two, with a border between them: areas are drawn
            inside of fields, and most of a map is near a border. Unless this is 0 the regression is
            the mean of two: of training pixels as they are, and of the same with a border simulated
            near them. With fixed embeddings patches stay whole.
        band_dropout: Chance that a band of a patch is silenced.
        modality_dropout: Chance that modalities of a patch are silenced (never all of them). From
            0.2 on the model does with fewer, and maps pixels where any is valid, if it knows two
            to eight.
        noise: Standard deviation of spectral noise, in standard deviations of the band.
        class_balance: 0 counts every pixel alike, 1 every class; between, by that power. None takes
            0 where labels are points, whose numbers are taken to tell how common a class is, and
            0.5 where they are drawn areas, whose pixels tell how much was drawn.
        ema: Decay of the averaged weights, which are the ones kept.
        patience: Validations one after the other that are clearly worse than the best (by two
            standard errors) before training stops early.
        seed: Seed of everything random.
        device: Where to train.
        scan: Scan backend.
        precision: Of matrix products; `auto` is bf16 on CUDA and fp32 elsewhere.
        recompute: Keep less for the gradients and compute it again: a third of the memory for up
            to twice the time.
        threads: Of the CPU; None uses all.
        memory: Working memory for pixels in MiB, which caches blocks of the rasters; None takes a
            quarter of what is free, from 512 to 4,096.
        split: Parting of the labels.
        guide: Image encoder.
        licence: Text for the model file's licence field.
    """

    out: Path = Path("model.m3amba")
    size: SizeChoice = "auto"
    patch: Annotated[int, Field(ge=8, le=128, multiple_of=4)] = 32
    neighbourhoods: Annotated[tuple[Side, ...], Field(max_length=4)] = (3, 7, 15)
    epochs: Count | None = None
    batch: Count = 8
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    supervised: Annotated[float, Field(ge=0)] = 1.0
    unsupervised: Annotated[float, Field(ge=0)] = 0.1
    self_training: Annotated[float, Field(ge=0)] = 0.5
    linear_head: bool = True
    borders: Share = 0.5
    band_dropout: Share = 0.05
    modality_dropout: Share = 0.1
    noise: Annotated[float, Field(ge=0)] = 0.1
    class_balance: Annotated[float, Field(ge=0, le=1)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    patience: Count = 10
    seed: Annotated[int, Field(ge=0)] = 0
    device: Device = "auto"
    scan: ScanName = "auto"
    precision: Precision = "auto"
    recompute: bool = False
    threads: Count | None = None
    memory: Annotated[int, Field(ge=16)] | None = None
    split: SplitConfig = Field(default_factory=SplitConfig)
    guide: GuideConfig = Field(default_factory=GuideConfig)
    licence: str = ""


@dataclass(frozen=True, config=STRICT)
class ClassifyConfig:
    """How a map is made.

    Attributes:
        out: GeoTIFF of class codes.
        confidence: GeoTIFF of the winning class's probability.
        probabilities: GeoTIFF with a band a class.
        modalities_used: GeoTIFF of what each pixel is made from, for a model that does with fewer
            modalities; None puts it beside the map, `map.modalities.tif`.
        bounds: `(left, bottom, right, top)` in the grid's CRS; the rows and columns of the grid
            that they span are mapped, which is more than lies inside where the grid is rotated.
        mask: Raster on the same grid; 0 and nodata are left out of the map.
        stride: Pixels between windows; smaller is smoother and slower.
        batch: Windows a step; None chooses for the device.
        memory: Working memory for pixels in MiB: an eighth of it, at most, caches blocks of the
            rasters, and rows too wide for it are refused before work begins. None takes a quarter
            of what is free, from 512 to 4,096.
        guide_weights: Local file of the image encoder that the model was trained with.
        device: Where to compute.
        scan: Scan backend.
        precision: As in training; bf16 is given up, and said so, where classes would differ.
        workers: Processes of this machine that share the blocks and its threads; None makes them in
            this one.
        scheduler: Address of a dask scheduler whose workers make the blocks instead.
        overwrite: Whether existing outputs may be replaced.
        restart: Whether to drop what an unfinished run has left, instead of going on from it.
    """

    out: Path = Path("map.tif")
    confidence: Path | None = None
    probabilities: Path | None = None
    modalities_used: Path | None = None
    bounds: tuple[Finite, Finite, Finite, Finite] | None = None
    mask: Path | None = None
    stride: Count | None = None
    batch: Count | None = None
    memory: Annotated[int, Field(ge=16)] | None = None
    guide_weights: Path | None = None
    device: Device = "auto"
    scan: ScanName = "auto"
    precision: Precision = "auto"
    workers: Count | None = None
    scheduler: str | None = None
    overwrite: bool = False
    restart: bool = False


@dataclass(frozen=True, config=STRICT)
class MosaicConfig:
    """How a mosaic is made; how each of its maps is, `ClassifyConfig` says.

    Attributes:
        out: Folder of the VRT and the tiles.
        resampling: How the modalities of a scene are warped onto the first one's grid.
    """

    out: Path = Path("mosaic")
    resampling: Resampling = "bilinear"


@dataclass(frozen=True, config=STRICT)
class EvaluateConfig:
    """How a map is scored.

    Attributes:
        labels: Ground truth; pixels that trained the model are left out.
        model: Model that made the map, where no sidecar says which pixels trained it.
        report: JSON file to write.
        html: Self-contained HTML page to write.
        probability_sample: Whether the labels are points drawn at random, from all of the map or
            from each of its classes: then they tell of the whole map (docs/accuracy.md).
        allow_train_overlap: Score pixels that trained the model, too.
        overwrite: Whether existing outputs may be replaced.
    """

    labels: LabelConfig
    model: Path | None = None
    report: Path | None = None
    html: Path | None = None
    probability_sample: bool = False
    allow_train_overlap: bool = False
    overwrite: bool = False


@dataclass(frozen=True, config=STRICT)
class Config:
    """All that a `m3amba.toml` may hold: scenes, a table for each job, and what all of them share.

    Attributes:
        allow_network: Whether rasters and labels may lie on servers (docs/security.md).
        scene: Places to train on; `classify` and `evaluate` take the only one.
        train: How a model is trained.
        classify: How a map is made.
        mosaic: How maps of many scenes are joined.
        evaluate: How a map is scored.
    """

    allow_network: bool = False
    scene: tuple[SceneConfig, ...] = ()
    train: TrainConfig = Field(default_factory=TrainConfig)
    classify: ClassifyConfig = Field(default_factory=ClassifyConfig)
    mosaic: MosaicConfig = Field(default_factory=MosaicConfig)
    evaluate: EvaluateConfig | None = None
