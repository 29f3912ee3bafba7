"""Knowledge distillation: what one model says of many texts teaches a smaller one.

Hinton et al. 2015 (arXiv:1503.02531). Teachers are packs or checkpoint folders; their answers are worked out
once and kept on disk. The student is a checkpoint folder, one made from a teacher's layers, or base weights.
The room needs the extra `train`; `folder` and `student` need numpy and safetensors only.
"""
