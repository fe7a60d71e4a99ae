"""The network, one file a concept of the paper (Fang et al., CVPR 2021)."""

from models.abinet.abinet import ABINet
from models.abinet.config import NETWORKS, NetworkConfig

__all__ = ["NETWORKS", "ABINet", "NetworkConfig"]
