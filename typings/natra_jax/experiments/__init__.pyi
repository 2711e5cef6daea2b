# What pyright is told of the package that setup.py maps to experiments/, an import hook's doing.
from typing import Protocol

from ml_collections import ConfigDict

class _Experiment(Protocol):
    def get_config(self) -> ConfigDict: ...

def __getattr__(name: str) -> _Experiment: ...
