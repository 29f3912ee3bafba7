"""Models made and measured: training, distillation, pruning, evaluation, conversion."""
