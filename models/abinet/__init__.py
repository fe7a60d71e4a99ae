"""The network, one file a concept of the paper (Fang et al., CVPR 2021).

Only its sizes are imported here: processes that prepare batches need no more, and MindSpore takes seconds.
"""

from models.abinet.config import NETWORKS, NetworkConfig

__all__ = ["NETWORKS", "NetworkConfig"]
