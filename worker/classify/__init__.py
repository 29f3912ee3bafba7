"""The classify room: a model pack in, predictions out. Tokenizer and onnxruntime live here alone."""

from worker.classify.errors import InferenceError, PackError
from worker.classify.heads import Head
from worker.classify.model import Model
from worker.classify.pack import Pack, bundled_pack, load_pack
from worker.classify.token_head import Gate, TokenHead
from worker.classify.tokenizer import Tokens

__all__ = [
    "Gate",
    "Head",
    "InferenceError",
    "Model",
    "Pack",
    "PackError",
    "TokenHead",
    "Tokens",
    "bundled_pack",
    "load_pack",
]
