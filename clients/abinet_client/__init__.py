"""Reads cropped word images with an abinet service.

    from abinet_client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.read("crop.png").text)

`AsyncClient` is the same for asyncio. All that a call raises is an `AbinetError`.
"""

from abinet_client._async_client import AsyncClient
from abinet_client._calls import Region, Turns
from abinet_client._client import Client
from abinet_client._exceptions import (
    AbinetError,
    BadImage,
    ConnectionFailed,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    NotReady,
    Overloaded,
    ServiceFault,
    Unauthorized,
    UnexpectedAnswer,
    UnreadableFile,
)
from abinet_client._images import Image
from abinet_client._models import (
    Alternative,
    CanaryInfo,
    Character,
    GraphBatches,
    Health,
    LatencyReport,
    LatencyWindow,
    LexiconChoice,
    ModelInfo,
    ModelName,
    Prediction,
    Problem,
    Reading,
    RefinementStage,
    Stage,
    StageLatency,
    Timings,
    VisionStage,
)
from abinet_client._packs import Outcome, RegionOutcome
from abinet_client._retry import Retry

__version__ = "0.1.0"

__all__ = [
    "AbinetError",
    "Alternative",
    "AsyncClient",
    "BadImage",
    "CanaryInfo",
    "Character",
    "Client",
    "ConnectionFailed",
    "DeadlineExceeded",
    "EngineFailed",
    "GraphBatches",
    "Health",
    "Image",
    "InvalidRequest",
    "LatencyReport",
    "LatencyWindow",
    "LexiconChoice",
    "ModelInfo",
    "ModelName",
    "NotReady",
    "Outcome",
    "Overloaded",
    "Prediction",
    "Problem",
    "Reading",
    "RefinementStage",
    "Region",
    "RegionOutcome",
    "Retry",
    "ServiceFault",
    "Stage",
    "StageLatency",
    "Timings",
    "Turns",
    "Unauthorized",
    "UnexpectedAnswer",
    "UnreadableFile",
    "VisionStage",
    "__version__",
]
